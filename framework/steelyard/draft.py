"""The draft: a run before it starts."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pytorch_lightning import LightningDataModule, LightningModule

from steelyard.adapters import Adapter
from steelyard.seam import Seam

if TYPE_CHECKING:
    from steelyard.estimating.estimate import Forecast

Step = Callable[..., Any]
"""`training_step`: batch, batch index (where the task asks for it) -> what Lightning allows."""
StepWrap = Callable[[Step], Step]
"""Takes the step inside and gives the step outside."""
LoaderWrap = Callable[[Iterable[Any]], Iterable[Any]]
"""Takes what `train_dataloader` gives and gives what Lightning shall train on."""
OptimizerWrap = Callable[[Any], Any]
"""Takes what `configure_optimizers` gives and gives the same kind of thing."""

STEP_SEAMS = (Seam.GRAPH, Seam.OBJECTIVE, Seam.BATCHES)
"""Seams that wrap the training step, innermost first.

BATCHES is outermost, so that each piece of a batch passes through the whole objective: nested the other way round, the
clean and the adversarial half of a batch would be cut at different places, and the gradient is silently wrong.
"""


def _no_steps() -> dict[Seam, list[StepWrap]]:
    return {seam: [] for seam in STEP_SEAMS}


@dataclass(kw_only=True)
class Draft:
    """The run before it starts. Plugins may change it, each through the seams that it claims.

    Attributes:
        task: The user's LightningModule. MODULES covers its layers, in place.
        data: The data module; never changed in place, its train loader is wrapped by `loaders`.
        trainer: Arguments of `pytorch_lightning.Trainer`; `steelyard.seam` says which seam covers which.
        adapter: How the challenges look at a batch of this data and at an output of this task.
        seed: The seed of the run.
        loaders: Wraps round `data.train_dataloader` (BATCHES), the first one innermost.
        steps: Wraps round `task.training_step`, by seam; within a seam the first one is innermost.
        optimizers: Wraps round `task.configure_optimizers` (OPTIMIZER), the first one innermost.
        rehearsal: True where `steelyard plan` tries the training on tensors without numbers: write nothing outside the
            run, and draw the same every time.
        forecast: What the training would need, from shapes alone; a few seconds of work when it is first asked for,
            which is in `preflight`, before any plugin changes the draft. None where nobody can tell, as in a rehearsal.
        spenders: Plugins that keep an account of something that adds up over runs, such as a privacy budget, by key.
    """

    task: LightningModule
    data: LightningDataModule
    trainer: dict[str, Any]
    adapter: Adapter
    seed: int
    loaders: list[LoaderWrap] = field(default_factory=list[LoaderWrap])
    steps: dict[Seam, list[StepWrap]] = field(default_factory=_no_steps)
    optimizers: list[OptimizerWrap] = field(default_factory=list[OptimizerWrap])
    rehearsal: bool = False
    forecast: "Callable[[], Forecast] | None" = None
    spenders: tuple[str, ...] = ()
