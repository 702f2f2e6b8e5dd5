"""A Keras 3 model as a plain `nn.Module`."""

from collections.abc import Iterable, Sequence
from typing import Any, Literal, final

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from steelyard.kinds import NUMBERS_TO_CLASS
from steelyard.models import _keras
from steelyard.models._keras_optimizer import translated
from steelyard.models.arranging import arrangement
from steelyard.models.normalise import Normalise
from steelyard.problem import refuse

SMALLEST = 1e-7
"""Keras's own epsilon, by which its cross-entropy bounds probabilities."""
ROUNDING = 1e-3
"""How far probabilities may miss 1 in sum, in low precision."""


@final
class KerasModel(nn.Module):
    """Logits of a Keras 3 model on its PyTorch backend, which trains like any other module.

    The weights are parameters of this module and everything else that changes in training (statistics of batch
    normalisation, states of random streams) its buffers, called as Keras calls them, with their number: Keras gives
    only the architecture, and is called with them (`stateless_call`). Dropout and batch normalisation follow
    `train()` and `eval()`.

    A model that ends in probabilities gives their logarithms, bounded as Keras bounds them, so that cross-entropy is
    Keras's sparse categorical cross-entropy.

    Args:
        input_shape: Shape of one example of the data; flattened, or its channels moved last, where the model wants it.
        classes: Number of outputs.
        build: The dotted name of a function that gives a `keras.Model` (it gets `input_shape` and `classes` if it has
            parameters of these names) or of a model; or a file: `net.py:make_model`, or `net.keras` with its weights.
            None for a perceptron of 128 units, compiled with Adam.
        outputs: Whether the model ends in probabilities or in logits; by its loss and last activation for "auto".
        mean: Subtracted from the inputs.
        std: The inputs are divided by it.

    Raises:
        Refused: If there is no such model, or it does not fit the data or the task.
    """

    does = NUMBERS_TO_CLASS

    def __init__(
        self,
        *,
        input_shape: Sequence[int],
        classes: int,
        build: str | None = None,
        outputs: Literal["auto", "probabilities", "logits"] = "auto",
        mean: float | Sequence[float] = 0.0,
        std: float | Sequence[float] = 1.0,
    ) -> None:
        super().__init__()
        self.normalise = Normalise(input_shape, mean=mean, std=std)
        self.architecture = _keras.find(build, input_shape=input_shape, classes=classes)
        keras, model = self.architecture.keras, self.architecture.model
        wanted = tuple(model.input_shape[1:]) if model.built and _plain(model) else None
        last = keras.config.image_data_format() == "channels_last"
        self.arrange = arrangement(tuple(input_shape), wanted=wanted, channels_last=last)
        with torch.device("cpu"), torch.no_grad(), keras.device("cpu"):
            # Also makes the weights of a model that has seen no input.
            tried: Any = model(self.arrange(torch.zeros(2, *input_shape)), training=False)
        self.weights = [_register(self, *one, trained=True) for one in enumerate(model.trainable_variables)]
        self.states = [_register(self, *one, trained=False) for one in enumerate(model.non_trainable_variables)]
        kind = _keras.kind_of(self.architecture) if outputs == "auto" else outputs
        _check(tried, classes=classes, kind=kind)
        self.probabilities = kind == "probabilities"

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits (B, classes)."""
        keras, model = self.architecture.keras, self.architecture.model
        weights = [self.get_parameter(name) for name in self.weights]
        states = [self.get_buffer(name) for name in self.states]
        # Keras would move everything to the device that it likes best.
        with keras.device(str(inputs.device)):
            outputs, after = model.stateless_call(
                weights, states, self.arrange(self.normalise(inputs)), training=self.training
            )
        if self.training:
            with torch.no_grad():
                for state, value in zip(states, after, strict=True):
                    if state is not value:
                        state.copy_(value)
        return outputs.float().clamp(SMALLEST, 1 - SMALLEST).log() if self.probabilities else outputs

    def compiled_optimizer(self, parameters: Iterable[nn.Parameter]) -> Optimizer:
        """The optimizer that the model was compiled with.

        Raises:
            Refused: If it was not compiled, or PyTorch has none that takes the same steps.
        """
        keras, model = self.architecture.keras, self.architecture.model
        if getattr(model, "optimizer", None) is None:
            raise refuse("the Keras model was not compiled, so it brings no optimizer", fix="optimizer=adam")
        return translated(keras.optimizers.serialize(model.optimizer), parameters)

    def keras_model(self) -> Any:
        """The `keras.Model` with the weights as they are now, e.g. to save it in Keras's own format."""
        model = self.architecture.model
        variables = [*model.trainable_variables, *model.non_trainable_variables]
        values = [self.get_parameter(name) for name in self.weights] + [self.get_buffer(name) for name in self.states]
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value.detach())
        return model


def _register(module: nn.Module, number: int, variable: Any, *, trained: bool) -> str:
    """A copy of a Keras variable as a tensor of the module, made where PyTorch makes tensors now.

    Keras counts all the layers that a process has made, so the names of its layers say nothing.
    """
    value: Tensor = variable.value.detach()
    name = f"{variable.name}_{number}".replace(".", "_")
    own = torch.empty(value.shape, dtype=value.dtype)
    if not own.is_meta:
        own.copy_(value)
    if trained:
        module.register_parameter(name, nn.Parameter(own))
    else:
        module.register_buffer(name, own)
    return name


def _plain(model: Any) -> bool:
    """One input of known shape; a model by subclassing says nothing of it."""
    return len(getattr(model, "inputs", None) or ()) == 1


def _check(outputs: Any, *, classes: int, kind: str) -> None:
    if not isinstance(outputs, Tensor) or tuple(outputs.shape) != (2, classes):
        shape = tuple(outputs.shape[1:]) if isinstance(outputs, Tensor) else type(outputs).__name__
        raise refuse(
            f"the Keras model gives {shape} for each example, the data has {classes} classes",
            fix="model.build=my_module.make_model  (whose last layer has one unit for each class)",
        )
    if kind == "probabilities" and (outputs.min() < 0 or (outputs.sum(dim=1) - 1).abs().max() > ROUNDING):
        raise refuse(
            "the model was compiled for probabilities and its outputs do not add up to 1: they look like logits",
            fix="model.outputs=logits",
        )
