# pyright: reportUnknownMemberType=false
"""The live half of `stability=outliers`."""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from steelyard.adapters import ClassScoring
from steelyard.attachment import Attachment
from steelyard.measurement import Artefact, Better, Measurement, Status
from steelyard.problem import Refused
from steelyard.runs import Run
from steelyard_stability._ood import Floats, auroc, energy, mahalanobis, nearest, unsure
from steelyard_stability.corruptions._asking import first_of
from steelyard_stability.corruptions._dice import Dice
from steelyard_stability.corruptions._families import family_for
from steelyard_stability.corruptions._text import Rules
from steelyard_stability.outliers import Outliers

TEST, FAMILIAR = "test", "val"
STRONGEST = 5
MEANING = "how surely a strange input looks stranger than a test example by this score; 1 is always, 0.5 is chance"
Strange = Callable[[Any, Sequence[int]], Any]
"""A batch and the places of its examples -> a batch of strange inputs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    logits: Floats
    features: Floats
    targets: NDArray[np.int64]


@final
class OutliersAttachment(Attachment):
    """Looks at familiar, test and strange inputs."""

    def __init__(self, plugin: Outliers) -> None:
        self._plugin = plugin

    @torch.no_grad()
    def measure(self, run: Run) -> Iterator[Measurement | Artefact]:
        """The area under the curve of every score against every sort of strange input, the worst first."""
        if not isinstance(run.adapter.scoring, ClassScoring):
            yield _skipped("the task does not choose one of several classes, so there are no logits of classes")
            return
        try:
            sorts = self._sorts(run)
        except Refused as refused:
            yield _skipped(str(refused))
            return
        familiar, test = self._seen(run, FAMILIAR), self._seen(run, TEST)
        note = f"{len(familiar.targets)} familiar examples of the {FAMILIAR} split; the interval is DeLong's"
        rows: list[Measurement] = []
        own = self._scores(test, familiar)
        for sort, strange in sorts.items():
            other = self._scores(self._seen(run, TEST, strange), familiar)
            for score, values in own.items():
                value, interval = auroc(other[score], values)
                rows.append(
                    Measurement(
                        name="auroc",
                        value=value,
                        interval=interval,
                        better=Better.HIGHER,
                        count=2 * len(values),
                        at={"score": score, "against": sort},
                        split=TEST,
                        note=note,
                        meaning=MEANING,
                    )
                )
        yield from rows

    def _sorts(self, run: Run) -> dict[str, Strange]:
        adapter = run.adapter

        def far_noise(batch: Any, numbers: Sequence[int]) -> Any:
            inputs = adapter.inputs(run.task, batch)
            dice = Dice(run.seed, kind="far_noise", severity=STRONGEST, numbers=numbers)
            if adapter.bounds is not None:
                low, high = adapter.bounds
                return adapter.replace(batch, dice.uniform(*inputs.shape[1:], low=low, high=high).to(inputs))
            # Example by example, so that the batch does not matter.
            spread = torch.stack([row.double().std(correction=0) for row in inputs]).to(inputs)
            wide = spread.reshape(-1, *[1] * (inputs.dim() - 1))
            return adapter.replace(batch, 3 * wide * dice.normal(*inputs.shape[1:]).to(inputs))

        def shuffled(batch: Any, numbers: Sequence[int]) -> Any:
            inputs = adapter.inputs(run.task, batch)
            flat = inputs.flatten(start_dim=1)
            dice = Dice(run.seed, kind="shuffled", severity=STRONGEST, numbers=numbers)
            order = dice.order(flat.shape[1]).to(flat.device)
            return adapter.replace(batch, flat.gather(1, order).reshape(inputs.shape))

        sorts: dict[str, Strange] = {"far_noise": far_noise, "shuffled": shuffled}
        if self._plugin.against:
            family = family_for(run, split=TEST, rules=Rules())
            for kind in self._plugin.against:
                sorts[kind] = lambda batch, numbers, kind=kind: (
                    family.corrupted(batch, kind=kind, severity=STRONGEST, numbers=numbers).batch
                )
        return sorts

    def _scores(self, seen: _Seen, familiar: _Seen) -> dict[str, Floats]:
        known = familiar.features
        return {
            "max_softmax": unsure(seen.logits),
            "energy": energy(seen.logits),
            "mahalanobis": mahalanobis(seen.features, known=known, labels=familiar.targets),
            "nearest": nearest(seen.features, known=known, neighbours=self._plugin.neighbours),
        }

    def _seen(self, run: Run, split: str, strange: Strange | None = None) -> _Seen:
        adapter, first = run.adapter, 0
        logits: list[Tensor] = []
        features: list[Tensor] = []
        targets: list[Tensor] = []
        for raw in run.loader(split):
            batch = first_of(run, run.to_device(raw), self._plugin.examples - first)
            wanted = adapter.targets(batch)
            numbers = range(first, first + len(wanted))
            with _last_inputs(run.task) as given:
                found = adapter.outputs(run.task, batch if strange is None else strange(batch, numbers))
            # A model without such a layer is judged by its logits.
            fits = bool(given) and given[-1].dim() == 2 and len(given[-1]) == len(wanted)
            logits.append(found.double().cpu())
            features.append((given[-1] if fits else found).double().cpu())
            targets.append(wanted.cpu())
            first += len(wanted)
            if first >= self._plugin.examples:
                break
        return _Seen(
            logits=torch.cat(logits).numpy(), features=torch.cat(features).numpy(), targets=torch.cat(targets).numpy()
        )


@contextmanager
def _last_inputs(task: nn.Module) -> Generator[list[Tensor]]:
    """What the last linear layer gets, call by call."""
    layers = [layer for layer in task.modules() if isinstance(layer, nn.Linear)]
    given: list[Tensor] = []

    def keep(layer: nn.Module, inputs: tuple[Any, ...]) -> None:
        del layer
        given.append(inputs[0].detach())

    handles = [layer.register_forward_pre_hook(keep) for layer in layers[-1:]]
    try:
        yield given
    finally:
        for handle in handles:
            handle.remove()


def _skipped(reason: str) -> Measurement:
    return Measurement(name="auroc", status=Status.SKIPPED, note=reason, meaning=MEANING)
