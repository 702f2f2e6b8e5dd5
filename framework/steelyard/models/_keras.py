# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingImports=false
"""Keras on PyTorch: loading it, and finding and reading the user's model."""

import os
import runpy
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module, reload
from inspect import signature
from pathlib import Path
from typing import Any, Literal

import torch

from steelyard.extras import require
from steelyard.problem import Refused, refuse

BACKEND = "torch"
BUILD_FIX = "model.build=my_module.make_model"
Kind = Literal["probabilities", "logits"]


@dataclass(frozen=True, slots=True)
class Architecture:
    """A Keras model without weights of its own: it is called with those that it shall use.

    Copies of a task share it, so that copying never goes through Keras's serialisation.
    """

    keras: Any
    model: Any

    def __deepcopy__(self, memo: dict[int, Any]) -> "Architecture":
        del memo
        return self


def library() -> Any:
    """Keras, imported on PyTorch unless somebody has imported it already.

    Raises:
        Refused: If it is missing, or runs on something else.
    """
    require("keras", extra="keras")
    if "keras" not in sys.modules:
        _right(os.environ.setdefault("KERAS_BACKEND", BACKEND))
    import keras

    _right(keras.backend.backend())
    return keras


def _right(backend: str) -> None:
    if backend != BACKEND:
        raise refuse(
            f"Keras runs on {backend} here, and Steelyard trains with PyTorch: choose its backend before anything "
            "imports Keras",
            fix=f"export KERAS_BACKEND={BACKEND}",
        )


def find(build: str | None, *, input_shape: Sequence[int], classes: int) -> Architecture:
    """The model that `build` names, its weights drawn anew by the seed of the run, or as its file holds them.

    Raises:
        Refused: If there is none.
    """
    keras = library()
    # Keras draws from a stream of its own; the run has just seeded PyTorch's.
    keras.utils.set_random_seed(torch.initial_seed() % 2**32)
    try:
        with torch.device("cpu"), keras.device("cpu"):
            found = _made(build, keras, {"input_shape": tuple(input_shape), "classes": classes})
    except Refused:
        raise
    except Exception as error:  # whatever a stranger's code raises
        raise refuse(f"model.build={build} fails: {type(error).__name__}: {error}", fix=BUILD_FIX) from error
    if not isinstance(found, keras.Model):
        raise refuse(f"model.build={build} gives a {type(found).__name__}, no keras.Model", fix=BUILD_FIX)
    return Architecture(keras, found)


def _made(build: str | None, keras: Any, facts: Mapping[str, Any]) -> Any:
    found: Any = _named(build, keras) if build else import_module("steelyard.models._keras_source").perceptron
    if callable(found) and not isinstance(found, keras.Model):
        return found(**{name: facts[name] for name in signature(found).parameters if name in facts})
    return found


def _named(build: str, keras: Any) -> Any:
    place, _, name = build.partition(":")
    path = Path(place).expanduser()
    if path.suffix in (".keras", ".py") and not path.is_file():
        raise refuse(f"there is no file model.build={place}", fix=BUILD_FIX)
    if path.suffix == ".keras":
        with warnings.catch_warnings():
            # Training begins anew, so the state of the stored optimizer is of no use.
            warnings.filterwarnings("ignore", message="Skipping variable loading for optimizer")
            return keras.saving.load_model(path, safe_mode=True)
    if path.suffix in (".h5", ".hdf5"):
        raise refuse(
            f"model.build={place} is of Keras's old format, which may hold code: save it again as .keras", fix=BUILD_FIX
        )
    if path.suffix == ".py":
        names: Mapping[str, Any] = runpy.run_path(str(path), run_name=path.stem)
        if (name or "model") not in names:
            raise refuse(f"{place} defines no {name or 'model'}", fix=f"model.build={place}:NAME")
        return names[name or "model"]
    module, _, name = build.rpartition(".")
    if not module:
        raise refuse(f"model.build={build} is neither a file nor the dotted name of a function", fix=BUILD_FIX)
    known = module in sys.modules
    found = getattr(import_module(module), name)
    # A model that stands in a module was made when the module was imported, maybe for an earlier run.
    return getattr(reload(sys.modules[module]), name) if known and isinstance(found, keras.Model) else found


def kind_of(found: Architecture) -> Kind:
    """What the model gives, by the loss that it was compiled with, else by its last activation.

    Raises:
        Refused: If the loss is another one than the task's, or nothing tells.
    """
    keras, model = found.keras, found.model
    _unregularised(model)
    loss = getattr(model, "loss", None)
    if loss is not None:
        return _kind_by_loss(keras.losses.get(loss))
    layers = [layer for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)]
    last = layers[-1] if layers else None
    activation = getattr(last, "activation", None)
    if isinstance(last, keras.layers.Softmax) or activation is keras.activations.softmax:
        return "probabilities"
    if activation is None or activation is keras.activations.linear:
        return "logits"
    raise refuse(
        f"the model ends with {getattr(activation, '__name__', activation)} and was not compiled: whether it gives "
        "probabilities or logits is not known",
        fix="model.outputs=logits",
    )


def _kind_by_loss(loss: Any) -> Kind:
    config: Mapping[str, Any] = loss.get_config() if hasattr(loss, "get_config") else {}
    name = str(config.get("name") or getattr(loss, "__name__", loss))
    if name not in ("sparse_categorical_crossentropy", "categorical_crossentropy"):
        raise refuse(
            f"the model was compiled with the loss {name}; task=classification learns by categorical cross-entropy",
            fix="task=custom task._target_=my_module.MyTask",
        )
    if config.get("label_smoothing"):
        raise refuse(
            f"label smoothing is the task's here, not that of {name}",
            fix=f"task.label_smoothing={config['label_smoothing']}",
        )
    if config.get("ignore_class") is not None or config.get("reduction", "sum_over_batch_size") not in (
        "sum_over_batch_size",
        "mean",
    ):
        raise refuse(f"{name} with ignore_class or another reduction than the mean is not known here", fix=BUILD_FIX)
    return "logits" if config.get("from_logits") else "probabilities"


def _unregularised(model: Any) -> None:
    active = [layer.name for layer in model.layers if getattr(layer, "activity_regularizer", None) is not None]
    if model.losses or active:
        raise refuse(
            "the model has losses of its own (regularisers, add_loss), which no task adds to its loss",
            fix="optimizer=adamw optimizer.weight_decay=0.01  (or task.l1=1e-5), and none in the layers",
        )
