"""`steelyard plan`: preflight and the predicted cost, without training."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from omegaconf import DictConfig
from pytorch_lightning import seed_everything
from torch import Tensor

from steelyard import building, randomness, requirements, spec
from steelyard.devices import lacks_gpu
from steelyard.draft import Draft
from steelyard.estimating import in_words
from steelyard.estimating._fake import numbers_answered
from steelyard.estimating.estimate import Estimate, Forecast
from steelyard.estimating.forecasting import forecaster, smaller_than_a_batch
from steelyard.estimating.machines import Machine, machine
from steelyard.estimating.probing import Probed, probe
from steelyard.estimating.settings import Planning
from steelyard.preflight import preflight
from steelyard.problem import Problem, Refused
from steelyard.report.numbers import duration
from steelyard.selection import Selected, plugins_of
from steelyard.sweeping.pool import share, side_by_side

NO_GPU = Problem(
    message="this machine has no GPU: a run ends here, and these are figures of its CPU; a plan for a GPU names one",
    fix="plan.machine=h100",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanReport:
    """What a run would be and cost.

    Attributes:
        spec: Hash of the config alone, so that equal trials of a sweep are recognised.
        choices: Config group -> chosen option(s).
        plugins: Keys of the plugins, in order.
        parameters: Weights in total.
        trainable: Weights that are trained.
        flops_per_step: Of one optimizer step with all that plugins do in it, FLOP = 2 MAC; None where not counted.
        steps: Optimizer steps of the whole run; None where the length is open.
        notes: Remarks of the composition and of preflight.
        checkpoint_bytes: What is kept of the weights, about; 0 where no checkpoint is.
        spends: What plugins use up that adds up over runs, e.g. {"epsilon": 8.0}.
        estimate: Memory and operations; None where the task cannot be rehearsed.
        target: The machine that is planned for; None for this one.
        precision: As the Trainer calls it.
        probed: What a few real steps took; None where none were asked for.
        watts: Assumed of a busy processor core.
        accumulated: Batches to a step.
    """

    spec: str
    choices: Mapping[str, str]
    plugins: tuple[str, ...]
    parameters: int
    trainable: int
    flops_per_step: int | None
    steps: int | None
    notes: tuple[str, ...] = ()
    checkpoint_bytes: int = 0
    spends: Mapping[str, float] = field(default_factory=dict[str, float])
    estimate: Estimate | None = None
    target: Machine | None = None
    precision: str = "32-true"
    probed: Probed | None = None
    watts: float = 10.0
    accumulated: int = 1

    def text(self) -> str:
        """For the terminal."""
        flops = "unknown" if self.flops_per_step is None else f"{self.flops_per_step:,}"
        total = (
            "unknown"
            if self.flops_per_step is None or self.steps is None
            else f"{self.flops_per_step * self.steps:.3g}"
        )
        rows = [
            ("spec", self.spec),
            ("choices", ", ".join(f"{group}={value}" for group, value in self.choices.items())),
            ("plugins", ", ".join(self.plugins) or "none"),
            ("parameters", f"{self.parameters:,} ({self.trainable:,} trainable)"),
            ("steps", "open" if self.steps is None else f"{self.steps:,}"),
            ("FLOPs per step", f"{flops}  (FLOP = 2 MAC; forward and backward, with what plugins do)"),
            ("FLOPs in total", total),
            *self._estimated(),
            *self._timed(),
            *((what, f"{amount:.4g}") for what, amount in self.spends.items()),
            *(("note", note) for note in self.notes),
        ]
        return "\n".join(f"{name:>15}  {value}" for name, value in rows)

    def _timed(self) -> Iterator[tuple[str, str]]:
        if self.probed is None:
            return
        each = f"{duration(self.probed.seconds)} a batch, the median of {self.probed.steps} after the first"
        if self.steps is None:
            yield "time", f"unknown: the length is open; {each}"
            return
        batches = self.steps * self.accumulated
        yield "time", f"about {duration(self.probed.training(batches))} of training with validation ({each})"
        if self.estimate is not None and self.estimate.gpu:
            yield "energy", "told by the GPU's counter when it trains"
            return
        spent = self.probed.training_cpu(batches)
        energy = f"about {spent * self.watts:.3g} J, estimated: {duration(spent)} of CPU time"
        yield "energy", f"{energy} at an assumed {self.watts:g} W for a busy core"

    def _estimated(self) -> list[tuple[str, str]]:
        if self.estimate is None:
            return []
        return [*in_words.rows(self.estimate, steps=self.steps, target=self.target, precision=self.precision)]


def plan(
    config: DictConfig,
    *,
    choices: Mapping[str, str],
    overrides: Sequence[str],
    notes: Sequence[str] = (),
    settings: Planning | None = None,
) -> PlanReport:
    """Everything up to preflight on the meta device, and a rehearsal: no weight is allocated, whatever their number.

    No random stream moves, and no step is taken; one batch is loaded for its shapes.

    Raises:
        Refused: With every problem that a run would be refused for.
    """
    del overrides
    asked = settings or Planning()
    target = None if asked.machine is None else machine(asked.machine)
    found = [*requirements.problems(spec.plain(config).get("require") or {})]
    selected = plugins_of(config)
    if found:
        raise Refused(found)
    draft = _drafted(config)
    draft.forecast = forecaster(selected, draft)
    small = smaller_than_a_batch(draft.data.train_dataloader())
    absent = NO_GPU if target is None and lacks_gpu(draft.trainer) else None
    problems = [*preflight(selected, draft), *filter(None, [small, absent])]
    forecast = draft.forecast()
    estimate = forecast.estimate
    weights: list[Tensor] = list(draft.task.parameters())
    return PlanReport(
        spec=spec.spec_hash(config),
        choices=dict(choices),
        plugins=_keys(selected),
        parameters=sum(weight.numel() for weight in weights) if estimate is None else estimate.parameters,
        trainable=sum(weight.numel() for weight in weights if weight.requires_grad)
        if estimate is None
        else estimate.trainable,
        flops_per_step=None if estimate is None else estimate.flops,
        steps=forecast.steps,
        notes=(*notes, *map(_noted, problems), *forecast.notes),
        checkpoint_bytes=_kept(weights) if config.get("checkpoints") == "last" else 0,
        spends=_spends(selected, draft),
        estimate=estimate,
        target=target,
        precision=str(draft.trainer.get("precision") or "32-true") if estimate is None else estimate.precision,
        probed=_probed(config, estimate) if asked.probe and not asked.advise else None,
        watts=asked.watts,
        accumulated=1 if estimate is None else estimate.batches,
    )


def foreseen(config: DictConfig) -> Forecast:
    """The forecast of a config alone.

    Raises:
        Refused: With every problem that a run would be refused for.
    """
    selected = plugins_of(config)
    draft = _drafted(config)
    draft.forecast = forecaster(selected, draft)
    preflight(selected, draft)
    return draft.forecast()


def _drafted(config: DictConfig) -> Draft:
    """The plain draft on the meta device. Layers that look at the numbers they made are told "one"."""
    with randomness.forked():
        seed_everything(int(config.seed), verbose=False)
        data = building.make_data(config)
        with torch.device("meta"), numbers_answered():
            draft = building.make_draft(config, data)
            draft.task.configure_model()
    return draft


def _probed(config: DictConfig, estimate: Estimate | None) -> Probed:
    _, threads = share(None, 1)
    return side_by_side({0: lambda: probe(config, estimate)}, workers=1, threads=threads)[0]


def _kept(weights: Sequence[Tensor]) -> int:
    """Bytes of a checkpoint: the weights, and for each that is trained two moments, as Adam has them."""
    return sum(weight.numel() * weight.element_size() * (3 if weight.requires_grad else 1) for weight in weights)


def _spends(selected: Sequence[Selected], draft: Draft) -> dict[str, float]:
    found: dict[str, float] = {}
    for choice in selected:
        for what, amount in choice.plugin.spends(draft).items():
            found[what] = found.get(what, 0.0) + amount
    return found


def _noted(problem: Problem) -> str:
    return f"{problem.message} ({problem.fix})" if problem.fix else problem.message


def _keys(selected: Sequence[Selected]) -> tuple[str, ...]:
    return tuple(choice.key for choice in selected)
