# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""The live half of `compute=distill`."""

import functools
from collections.abc import Iterator
from typing import Any, final

import torch
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import LightningModule
from torch import Tensor
from torch.nn.functional import kl_div

from steelyard import building, checkpoints, randomness
from steelyard.adapters import Adapter
from steelyard.attachment import Attachment
from steelyard.draft import Draft, Step
from steelyard.ignored import IGNORED
from steelyard.measurement import Artefact, Better, Measurement
from steelyard.narrowing import is_mapping
from steelyard.problem import Problem, refuse
from steelyard.runs import Run
from steelyard.seam import Seam
from steelyard.statistics import proportion
from steelyard_compute._paired import paired_loss
from steelyard_compute.distill import Distill

SPLIT = "test"


def problems(plugin: Distill, draft: Draft) -> Iterator[Problem]:
    """A teacher that is not there, and a task whose answers have no probabilities."""
    del draft
    fix = "compute.distill.teacher=outputs/RUN"
    if plugin.teacher is None:
        yield Problem("no teacher is named", fix=fix)
        return
    for name in ("config.yaml", f"checkpoints/{checkpoints.LAST}"):
        if not (plugin.teacher / name).is_file():
            yield Problem(f"the teacher {plugin.teacher} has no {name}", fix=fix)


def attach(plugin: Distill, draft: Draft) -> "DistillAttachment":
    """The attachment, with its teacher; it draws nothing from the run's random streams.

    Raises:
        Refused: If the teacher cannot be built or does not fit its checkpoint.
    """
    assert plugin.teacher is not None
    config = OmegaConf.load(plugin.teacher / "config.yaml")
    assert isinstance(config, DictConfig)
    with randomness.forked():
        teacher = building.make_draft(config, draft.data).task
    content = checkpoints.load(plugin.teacher / "checkpoints" / checkpoints.LAST)
    try:
        teacher.load_state_dict(content["state_dict"])
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        message = f"the teacher {plugin.teacher} does not fit its checkpoint (was it trained with LoRA?): {reason}"
        raise refuse(message, fix="compute.distill.teacher=outputs/RUN") from error
    attachment = DistillAttachment(plugin, teacher.eval().requires_grad_(False), draft.task, draft.adapter)
    draft.steps[Seam.OBJECTIVE].append(attachment.wrap)
    return attachment


def distance(student: Tensor, teacher: Tensor, *, temperature: float) -> Tensor:
    """T^2 * KL(teacher || student) of softened answers: logits (..., C) -> (...), in nats (Hinton et al. 2015)."""
    ours, theirs = ((logits / temperature).log_softmax(dim=-1) for logits in (student, teacher))
    return kl_div(ours, theirs, reduction="none", log_target=True).sum(dim=-1) * temperature**2


@final
class DistillAttachment(Attachment):
    """Asks the teacher at every step.

    Args:
        plugin: The settings.
        teacher: In eval mode; no part of the task, so that neither optimizer nor checkpoint knows it.
        task: That learns.
        adapter: How to ask both.
    """

    def __init__(self, plugin: Distill, teacher: LightningModule, task: LightningModule, adapter: Adapter) -> None:
        self._plugin = plugin
        self._teacher = teacher
        self._task = task
        self._adapter = adapter

    def wrap(self, inner: Step) -> Step:
        """The step with the teacher in its loss."""

        @functools.wraps(inner)
        def outer(batch: Any, *args: Any, **kwargs: Any) -> Any:
            answers: list[Any] = []
            handle = self._task.register_forward_hook(lambda _, __, output: answers.append(output))
            try:
                found = inner(batch, *args, **kwargs)
            finally:
                handle.remove()
            if found is None:
                return None
            return self._joined(found, self._loss(batch, answers))

        return outer

    def _loss(self, batch: Any, answers: list[Any]) -> Tensor:
        with torch.no_grad():
            theirs = self._adapter.outputs(self._teacher.to(self._task.device), batch)
        # The step's own answer where it is one, so that the model runs only once.
        ours = answers[0] if len(answers) == 1 else self._adapter.outputs(self._task, batch)
        if not (isinstance(ours, Tensor) and isinstance(theirs, Tensor) and ours.shape == theirs.shape):
            shapes = [tuple(it.shape) if isinstance(it, Tensor) else type(it).__name__ for it in (ours, theirs)]
            raise refuse(f"model and teacher answer in other shapes: {shapes[0]} and {shapes[1]}", fix="compute=cost")
        each = distance(ours, theirs, temperature=self._plugin.temperature)
        targets = self._adapter.targets(batch)
        counted = targets != IGNORED if targets.shape == each.shape else torch.ones_like(each, dtype=torch.bool)
        return each[counted].mean()

    def _joined(self, found: Any, distance: Tensor) -> Any:
        share = self._plugin.weight
        if is_mapping(found):
            return {**found, "loss": (1 - share) * found["loss"] + share * distance}
        return (1 - share) * found + share * distance

    def measure(self, run: Run) -> Iterator[Measurement | Artefact]:
        """How often both answer alike, and what the teacher does better."""
        with torch.no_grad():
            theirs = Run(
                task=self._teacher.to(run.device),
                data=run.data,
                adapter=run.adapter,
                seed=run.seed,
                device=run.device,
                trained=run.trained,
                folder=run.folder,
            ).predict(SPLIT)
        ours = run.predict(SPLIT)
        alike, count = int(run.adapter.scoring.same(ours.decisions, theirs.decisions).sum()), len(ours.marks)
        yield proportion(
            "agreement",
            alike,
            count,
            better=Better.HIGHER,
            split=SPLIT,
            meaning="share of the test examples that model and teacher answer alike",
        )
        lost, interval = paired_loss(theirs.marks, ours.marks)
        sizes = [sum(weight.numel() for weight in task.parameters()) for task in (run.task, self._teacher)]
        yield Measurement(
            name="marks_lost",
            value=lost,
            better=Better.LOWER,
            interval=interval,
            count=count,
            split=SPLIT,
            note=f"the teacher: {float(theirs.marks.double().mean()):.4f}; {sizes[0]:,} of its {sizes[1]:,} numbers",
            meaning="how much worse than its teacher the model answers",
        )
