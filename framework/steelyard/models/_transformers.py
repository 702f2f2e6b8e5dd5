# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportPrivateImportUsage=false
"""The only place of the text models that touches `transformers` and `peft`."""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from steelyard.extras import place_of, require
from steelyard.problem import refuse

LENGTHS = ("max_position_embeddings", "n_positions")
"""How configs call the longest text that their model takes."""


def built(family: str, config: Mapping[str, Any], *, of: str) -> Any:
    """A model with random weights.

    Args:
        family: The prefix of its config, e.g. "Bert".
        config: What the config takes.
        of: Which automatic class makes it: AutoModel, AutoModelForCausalLM and so on.

    Raises:
        Refused: If the library is missing, or the config does not fit together.
    """
    require("transformers", extra="text")
    import transformers

    try:
        made = getattr(transformers, f"{family}Config")(**config)
        return getattr(transformers, of).from_config(made, attn_implementation="eager")
    except ValueError as error:
        raise refuse(f"the model cannot be made: {error}", fix="model.heads=4 model.width=128") from error


def loaded(place: str, *, of: str, vocabulary: int, longest: int, **config: Any) -> Any:
    """A model with the weights of a folder, a package or the hub: safetensors only, and none of their code is run.

    On the meta device the weights are not read.

    Args:
        place: A folder, `package://NAME/FOLDER`, or a name of the hub.
        of: Which automatic class loads it.
        vocabulary: Tokens that the data's tokeniser knows.
        longest: Most tokens of a text.
        config: Changes of the stored config.

    Raises:
        Refused: If it cannot be loaded safely, or does not fit the data.
    """
    require("transformers", extra="text")
    import transformers

    found = place_of(place, key="model.pretrained")
    if found is not None and found.is_dir() and not [*found.glob("*.safetensors")]:
        pickles = ", ".join(sorted(path.name for path in (*found.glob("*.bin"), *found.glob("*.pt"))))
        raise refuse(
            f"model.pretrained={place} has no *.safetensors"
            + (f"; {pickles} is a pickle, which can run any code when it is read" if pickles else ""),
            fix="model.pretrained=FOLDER",
        )
    kind: Any = getattr(transformers, of)
    origin = str(found or place)
    options = {"trust_remote_code": False, "local_files_only": found is not None}
    try:
        with _silent(transformers):
            stored: Any = transformers.AutoConfig.from_pretrained(origin, **options, **config)
            if _on_meta():
                model = kind.from_config(stored, attn_implementation="eager")
            else:
                model = kind.from_pretrained(
                    origin, config=stored, use_safetensors=True, attn_implementation="eager", **options
                )
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        reason = (str(error).splitlines() or [""])[0] or type(error).__name__
        raise refuse(f"model.pretrained={place} cannot be loaded: {reason}", fix="model.pretrained=FOLDER") from error
    _check(stored, place, vocabulary=vocabulary, longest=longest)
    return model


def adapt(model: nn.Module, *, rank: int, alpha: float) -> None:
    """Freezes the model and adds trainable matrices of low rank to all its linear layers (LoRA; Hu et al. 2021).

    Raises:
        Refused: If peft is missing, or there is nothing to add to.
    """
    require("peft", extra="text")
    from peft import LoraConfig, inject_adapter_in_model
    from transformers.pytorch_utils import Conv1D

    head = getattr(model, "get_output_embeddings", lambda: None)()
    layers = {
        name: isinstance(module, Conv1D)
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | Conv1D) and module is not head
    }
    if not layers:
        raise refuse("model.lora_rank is set, but the model has no linear layer", fix="model.lora_rank=0")
    inject_adapter_in_model(
        LoraConfig(r=rank, lora_alpha=alpha, target_modules=[*layers], fan_in_fan_out=all(layers.values())), model
    )


def _check(config: Any, place: str, *, vocabulary: int, longest: int) -> None:
    if config.vocab_size < vocabulary:
        raise refuse(
            f"the tokeniser has {vocabulary} tokens, model.pretrained={place} has {config.vocab_size}",
            fix=f"data.tokenizer={place}",
        )
    limits = [getattr(config, name) for name in LENGTHS if isinstance(getattr(config, name, None), int)]
    if limits and longest > limits[0]:
        raise refuse(
            f"texts have up to {longest} tokens, model.pretrained={place} takes {limits[0]}",
            fix=f"data.max_length={limits[0]}",
        )


def _on_meta() -> bool:
    return torch.empty(0).device.type == "meta"


@contextmanager
def _silent(transformers: Any) -> Generator[None]:
    """Quiet while weights are loaded: that some are left out and others are new is what was asked for."""
    logging: Any = transformers.utils.logging
    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()
