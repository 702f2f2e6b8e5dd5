"""The trust panel of one method, and its picture."""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from steelyard.measurement import Picture
from steelyard.panel import Check, Mark, Panel, PanelChart, PanelLine
from steelyard.runs import Run
from steelyard.statistics import mean_interval
from steelyard_interpretability._captions import in_words, spoken, title, unit
from steelyard_interpretability._samples import SPLIT
from steelyard_interpretability._trials import Line, Trial, Trials
from steelyard_interpretability._verdicts import ALIKE, Verdict, above_zero, agreements, known
from steelyard_interpretability.faithfulness import Faithfulness
from steelyard_interpretability.methods.registry import METHODS

COMPLETE = 0.05
"""Completeness error up to which an example's contributions add up."""
STEADY = 0.5
"""Relative change near an input above which an explanation is unsteady."""


def pictures(run: Run, plugin: Faithfulness, trials: Trials, verdicts: Mapping[str, Verdict]) -> Iterator[Picture]:
    """One picture for each method, with its panel."""
    count = len(trials.samples.numbers)
    rows = torch.linspace(0, count - 1, min(plugin.pictures, count)).long()
    if not len(rows):
        return
    there = rows.to(trials.samples.inputs.device)
    decisions = trials.asked.decisions
    for name, trial in trials.trials.items():
        said = [in_words(run.adapter, trials, int(row)) for row in rows]
        png = run.adapter.draw(
            run.adapter.take(trials.samples.batch, there),
            trial.attributions[rows],
            titles=[title(run.adapter, trials, int(row)) for row in rows],
            decisions=decisions[there],
        )
        yield Picture(
            name=f"trust_{name}",
            title=f"{spoken(name).capitalize()}: what spoke for the decision in {len(rows)} validation examples, "
            f"{unit(run.adapter, name)}",
            png=png,
            alt=f"Each input with its attributions by {spoken(name)}. {' '.join(said)}",
            split=SPLIT,
            panel=panel(plugin, trials, trial, verdicts[name]),
        )


def panel(plugin: Faithfulness, trials: Trials, trial: Trial, verdict: Verdict) -> Panel:
    """How far the explanations of one method can be trusted."""
    count = len(trials.samples.numbers)
    if verdict.trusted:
        whole = Check(
            name="May be trusted on this model.", mark=Mark.GOOD, words=f"All controls hold on {count} examples."
        )
    else:
        reasons = "; ".join(verdict.failed)
        whole = Check(name="Not to be trusted on this model:", mark=Mark.BAD, words=f"{reasons}.")
    refused = "; ".join(f"{spoken(name)}: {reason}" for name, reason in trials.refused.items())
    return Panel(
        verdict=whole,
        checks=(
            _complete(trial),
            _gap("Beats a random order", verdict.random, Mark.BAD),
            _gap("Beats blurred noise", verdict.noise, Mark.BAD),
            _gap("Beats an edge detector", verdict.edge, Mark.DOUBTFUL),
            _gap("Needs what was learnt", verdict.untaught, Mark.BAD),
            _changes(trial, verdict),
            _agrees(trials, trial),
            _steady(trial),
        ),
        charts=(
            _chart("Deletion: lower is better", "share of the parts removed", trials, trial, insertion=False),
            _chart("Insertion: higher is better", "share of the parts put back", trials, trial, insertion=True),
        ),
        facts=(
            ("baseline", f"{plugin.baseline} of the validation split" if plugin.baseline == "mean" else "zero"),
            ("parts", f"{'' if bool(trials.present.all()) else 'up to '}{trials.present.shape[1]}"),
            ("examples", str(count)),
            ("random orders", f"{trials.orders} for each example"),
            ("layers lost", ", ".join(f"{step.share:.0%}" for step in trial.steps)),
            ("limits", trials.limits or "none was reached"),
            ("refused", refused or "nothing"),
        ),
    )


def _complete(trial: Trial) -> Check:
    errors = trial.errors
    fine = errors <= COMPLETE
    each = ", ".join(f"{float(error):.1%}" if error < 10 else "over 1000%" for error in errors[:8])
    rest = f" and {len(errors) - 8} more" if len(errors) > 8 else ""
    words = f"{int(fine.sum())} of {len(errors)} examples add up to within {COMPLETE:.0%}: off by {each}{rest}."
    if trial.name in METHODS and not METHODS[trial.name].complete:
        words += " This method does not promise it."
    return Check(name="Complete?", mark=Mark.GOOD if bool(fine.all()) else Mark.DOUBTFUL, words=words)


def _gap(name: str, gap: Tensor, otherwise: Mark) -> Check:
    return Check(name=f"{name}?", mark=Mark.GOOD if above_zero(gap) else otherwise, words=f"By {_around(gap)}.")


def _around(values: Tensor) -> str:
    mean, interval = mean_interval(values, low=-1, high=1)
    if interval is None:
        return _short(mean)
    return f"{_short(mean)} (95\N{NO-BREAK SPACE}% interval {_short(interval[0])} to {_short(interval[1])})"


def _short(value: float) -> str:
    """Two places, and no minus before a zero."""
    return f"{round(value, 2) + 0.0:.2f}".replace("-", "\N{MINUS SIGN}")


def _changes(trial: Trial, verdict: Verdict) -> Check:
    if verdict.alike is None:
        return Check(name="Changes with the weights?", mark=Mark.BAD, words="The explanations have no order.")
    way = ", ".join(
        f"{_short(float(step.ranks.mean()))} at {step.share:.0%}" if len(step.ranks) else f"none at {step.share:.0%}"
        for step in trial.steps
    )
    mark = Mark.BAD if verdict.alike > ALIKE else Mark.GOOD
    return Check(
        name="Changes with the weights?",
        mark=mark,
        words=f"Rank correlation with copies that lost their layers from the top down: {way}.",
    )


def _agrees(trials: Trials, trial: Trial) -> Check:
    found: list[str] = []
    worst = 1.0
    for one, other, ranks, tops in agreements(trials):
        if trial.name in (one, other) and len(ranks):
            mean = float(ranks.mean())
            worst = min(worst, mean)
            partner = spoken(other if trial.name == one else one)
            found.append(f"{_short(mean)} with {partner} (top tenth shared: {float(known(tops).mean()):.0%})")
    if not found:
        return Check(name="Agrees with others?", mark=Mark.OPEN, words="There is no other method to compare with.")
    mark = Mark.GOOD if worst > 0.5 else Mark.DOUBTFUL
    return Check(name="Agrees with others?", mark=mark, words=f"Rank correlation {', '.join(found)}.")


def _steady(trial: Trial) -> Check:
    values = None if trial.sensitivity is None else known(trial.sensitivity)
    if values is None or not len(values):
        return Check(name="Steady?", mark=Mark.OPEN, words="Not asked, or nothing to compare.")
    mean = float(values.mean())
    return Check(
        name="Steady?",
        mark=Mark.GOOD if mean < STEADY else Mark.DOUBTFUL,
        words=f"Changes by up to {mean:.0%} of its size when the input hardly moves.",
    )


def _chart(title: str, across: str, trials: Trials, trial: Trial, *, insertion: bool) -> PanelChart:
    lines: dict[str, Line] = {
        spoken(trial.name): trial.line,
        "random order": trials.random,
        "blurred noise": trials.noise,
        "edge detector": trials.edge,
        "best found": trials.oracle,
    }
    shares = [count / trials.counts[-1] for count in trials.counts]

    def points(line: Line) -> tuple[tuple[float, float], ...]:
        curve = (line.insertion if insertion else line.deletion).mean(dim=0)
        return tuple((round(x, 4), round(float(y), 5)) for x, y in zip(shares, curve, strict=True))

    return PanelChart(
        title=title,
        x_label=across,
        y_label="certainty of the decision",
        lines=tuple(PanelLine(name=name, points=points(line)) for name, line in lines.items()),
    )
