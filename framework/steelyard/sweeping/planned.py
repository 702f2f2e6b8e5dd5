"""`steelyard plan -m`: what a sweep would be and cost, before anything of it starts."""

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from omegaconf import OmegaConf

from steelyard.composing import Composed, Trial, known_to_hydra
from steelyard.planning import PlanReport, plan
from steelyard.problem import Refused
from steelyard.report.numbers import duration
from steelyard.sweeping.pool import share, side_by_side
from steelyard.sweeping.settings import Sweep
from steelyard.sweeping.trial import Job, weighed
from steelyard.sweeping.view import labels

PROBE_STEPS = 20
"""Steps that a probe trains; the first half warms up."""
_ASK = "unknown (sweep.probe=true runs a few steps of each kind of trial and tells)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    """A few steps of a trial, and all the rest of it.

    Attributes:
        step_seconds: The median step.
        other_seconds: All but the training.
        folder_bytes: Of the run folder, checkpoints aside.
    """

    step_seconds: float
    other_seconds: float
    folder_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepPlan:
    """What the distinct trials of a sweep would be and cost.

    Attributes:
        trials: How many Hydra makes of the words.
        workers: How many would run side by side.
        labels: Trial number -> what sets it apart.
        reports: Of each distinct trial that may run.
        refused: Trial number -> why it may not.
        same: Trial number -> the earlier trial with the same spec, which stands for it.
        seconds: Of each trial, from the probes; empty without.
        folder_bytes: Of each trial, from the probes, checkpoints aside; empty without.
    """

    trials: int
    workers: int
    labels: Mapping[int, str]
    reports: Mapping[int, PlanReport]
    refused: Mapping[int, Refused] = field(default_factory=dict[int, Refused])
    same: Mapping[int, int] = field(default_factory=dict[int, int])
    seconds: Mapping[int, float] = field(default_factory=dict[int, float])
    folder_bytes: Mapping[int, int] = field(default_factory=dict[int, int])

    @property
    def spent(self) -> dict[tuple[str, str], float]:
        """(What, data) -> how much all trials together spend of it; trials on other data do not add up."""
        found: dict[tuple[str, str], float] = {}
        for report in self.reports.values():
            for what, amount in report.spends.items():
                key = (what, report.choices.get("data", ""))
                found[key] = found.get(key, 0.0) + amount
        return found

    @property
    def total_seconds(self) -> float | None:
        """Wall time of the sweep if the cores do not slow each other down; None where a trial's is unknown."""
        if not self.reports or any(number not in self.seconds for number in self.reports):
            return None
        # The trials start in order, each on the first worker that is free.
        ends = [0.0] * self.workers
        for number in self.reports:
            at = ends.index(min(ends))
            ends[at] += self.seconds[number]
        return max(ends)

    def text(self) -> str:
        """For the terminal."""
        lines = [self._line(number) for number in sorted({*self.reports, *self.refused, *self.same})]
        flops = [(report.flops_per_step, report.steps) for report in self.reports.values()]
        total = sum(one * steps for one, steps in flops if one and steps)
        known = all(one is not None and steps is not None for one, steps in flops)
        checkpoints = sum(report.checkpoint_bytes for report in self.reports.values())
        kept = f"{checkpoints / 1e6:,.1f} MB of checkpoints"
        folders = sum(self.folder_bytes.values())
        others = f"{folders / 1e6:,.1f} MB of reports" if len(self.folder_bytes) == len(self.reports) else _ASK
        seconds = self.total_seconds
        rows = [
            ("trials", f"{len(self.reports)} distinct of {self.trials} trials, {self.workers} at a time"),
            ("FLOPs in total", f"{total:.3g}" if known else "unknown"),
            ("time", _ASK if seconds is None else f"about {duration(seconds)}"),
            ("disk", f"{kept}; {others}" if not others.startswith("unknown") else f"{kept}; the reports: {_ASK}"),
            *((f"{what} in total", self._total(what, data)) for what, data in self.spent),
            *(("note", note) for note in dict.fromkeys(note for one in self.reports.values() for note in one.notes)),
        ]
        return "\n".join([*lines, "", *(f"{name:>16}  {value}" for name, value in rows)])

    def _total(self, what: str, data: str) -> str:
        spenders = sum(what in one.spends and one.choices.get("data", "") == data for one in self.reports.values())
        amount = self.spent[what, data]
        return f"{amount:.4g} if all {spenders} results are published (on {data}; what each trial spends added up)"

    def _line(self, number: int) -> str:
        label = self.labels.get(number, "")
        if number in self.refused:
            return f"trial {number}  refused  {label}"
        if number in self.same:
            return f"trial {number}  the same as trial {self.same[number]}: it runs once  {label}"
        report = self.reports[number]
        steps = "open" if report.steps is None else f"{report.steps:,} steps"
        seconds = f"  about {duration(self.seconds[number])}" if number in self.seconds else ""
        spends = "".join(f"  {what} {amount:.3g}" for what, amount in report.spends.items())
        return f"trial {number}  {report.parameters:,} parameters  {steps}{seconds}{spends}  {label}".rstrip()


def plan_sweep(trials: Sequence[Trial], hashes: Mapping[int, str], settings: Sweep) -> SweepPlan:
    """Plans each distinct trial in a process of its own, several at a time.

    Args:
        trials: All of the sweep.
        hashes: Trial number -> hash of its config.
        settings: Of the sweep; `probe` trains a few steps of each kind of trial.
    """
    composed = {trial.number: trial.composed for trial in trials if trial.composed is not None}
    refused = {trial.number: trial.refused for trial in trials if trial.refused is not None}
    first: dict[str, int] = {}
    for number in composed:
        first.setdefault(hashes[number], number)
    distinct = {number: composed[number] for number in first.values()}
    workers, threads = share(settings.workers, len(distinct))
    found = side_by_side(
        {number: lambda one=one: _planned(one) for number, one in distinct.items()}, workers=workers, threads=threads
    )
    reports = {number: one for number, one in found.items() if isinstance(one, PlanReport)}
    refused |= {number: one for number, one in found.items() if isinstance(one, Refused)}
    seconds: dict[int, float] = {}
    sizes: dict[int, int] = {}
    if settings.probe:
        for number, probed in _probe_all(reports, distinct).items():
            steps = reports[number].steps
            sizes[number] = probed.folder_bytes
            if steps is not None:
                seconds[number] = probed.other_seconds + steps * probed.step_seconds
    return SweepPlan(
        trials=len(trials),
        workers=workers,
        labels=labels({trial.number: trial.overrides for trial in trials}),
        reports=dict(sorted(reports.items())),
        refused=refused,
        same={number: first[hashes[number]] for number in composed if number not in distinct},
        seconds=seconds,
        folder_bytes=sizes,
    )


def _planned(composed: Composed) -> PlanReport | Refused:
    try:
        with known_to_hydra(composed):
            return plan(composed.config, choices=composed.choices, overrides=composed.overrides, notes=composed.notes)
    except Refused as refused:
        return refused


def _probe_all(reports: Mapping[int, PlanReport], composed: Mapping[int, Composed]) -> dict[int, Probed]:
    """Trials of the same choices and size take the same time: one of each is probed, one after the other."""
    kinds: dict[tuple[object, ...], list[int]] = {}
    for number, report in reports.items():
        kind = (*report.choices.items(), report.parameters, report.flops_per_step)
        kinds.setdefault(kind, []).append(number)
    heads = {members[0]: members for members in kinds.values()}
    _, threads = share(None, len(reports))
    works = {number: lambda one=composed[number]: _probe(one) for number in heads}
    found = side_by_side(works, workers=1, threads=threads)
    return {member: one for head, one in found.items() for member in heads[head]}


def _probe(composed: Composed) -> Probed:
    from steelyard.sweeping._progress import Stopwatch

    config = composed.config.copy()
    OmegaConf.update(config, "trainer.max_steps", PROBE_STEPS, force_add=True)
    config.checkpoints = "none"
    watch = Stopwatch()
    with tempfile.TemporaryDirectory() as scratch:
        short = Composed(
            config=config,
            choices=composed.choices,
            overrides=composed.overrides,
            notes=composed.notes,
            hydra=composed.hydra,
            sweep=composed.sweep,
        )
        begun = time.monotonic()
        weighed(Job(verb="run"), short, outputs=Path(scratch), name="probe", announce=lambda _: None, watch=watch)
        took = time.monotonic() - begun
        size = sum(path.stat().st_size for path in Path(scratch).rglob("*") if path.is_file())
    return Probed(step_seconds=watch.step_seconds, other_seconds=max(0.0, took - watch.seconds), folder_bytes=size)
