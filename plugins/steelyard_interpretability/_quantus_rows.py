"""The numbers of Quantus in `interpretability.faithfulness`."""

from collections.abc import Iterator, Mapping

import torch

from steelyard.adapters import ClassScoring, PairAdapter
from steelyard.measurement import Measurement, Status
from steelyard.runs import Run
from steelyard.statistics import mean_interval
from steelyard_interpretability._safe import explaining
from steelyard_interpretability._samples import SPLIT
from steelyard_interpretability._trials import Trials
from steelyard_interpretability._verdicts import Verdict
from steelyard_interpretability.faithfulness import Faithfulness

MEANING = "a measure of explanations as the library Quantus takes it; see its documentation for what is better"


def by_quantus(run: Run, plugin: Faithfulness, found: Trials, verdicts: Mapping[str, Verdict]) -> Iterator[Measurement]:
    """A row for each measure and method; skipped with the reason where there is none."""
    adapter = run.adapter
    fits = isinstance(adapter, PairAdapter) and isinstance(adapter.scoring, ClassScoring)
    for name in plugin.quantus:
        for method, trial in found.trials.items():
            at: dict[str, str | float] = {"measure": name, "method": method}
            if not fits:
                yield _skipped(at, "Quantus knows classes of images, sounds and tables alone")
                continue
            from steelyard_interpretability._quantus import Asked, values

            try:
                with explaining(run.task):
                    numbers = values(
                        name,
                        method=method,
                        question=found.asked.pose(run.task, found.asked.decisions),
                        attributions=trial.attributions,
                        decisions=found.asked.decisions,
                        model=Asked(run.task, adapter, adapter.take(found.samples.batch, torch.tensor([0]))).eval(),
                        seed=run.seed,
                    )
            except ValueError as error:
                yield _skipped(at, str(error))
                continue
            known = torch.as_tensor(numbers)
            known = known[known.isfinite()]
            if not len(known):
                yield _skipped(at, f"{name} of Quantus is not finite on any example")
                continue
            mean, ends = mean_interval(known)
            failed = verdicts[method].failed
            why = f"control failed: {', '.join(failed)}; " if failed else ""
            yield Measurement(
                name="quantus",
                value=mean,
                status=Status.INVALID if failed else Status.MEASURED,
                interval=ends,
                count=len(known),
                at=at,
                split=SPLIT,
                note=f"{why}{name} of Quantus with its own settings, mean over examples; which way is better, and its "
                "bias, its documentation says",
                meaning=MEANING,
            )


def _skipped(at: dict[str, str | float], reason: str) -> Measurement:
    return Measurement(name="quantus", status=Status.SKIPPED, at=at, split=SPLIT, note=reason, meaning=MEANING)
