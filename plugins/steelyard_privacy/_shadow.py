# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""The live half of `privacy=shadow`: one model, trained on half of the examples."""

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any, final

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import DataLoader, RandomSampler, SequentialSampler, Subset

from steelyard.attachment import Attachment
from steelyard.draft import Draft
from steelyard.measurement import Artefact, Measurement, Status, Table
from steelyard.problem import Problem
from steelyard.runs import Run
from steelyard_privacy._canary_marks import population
from steelyard_privacy._meanings import meant
from steelyard_privacy._sampling import Unsuitable, rebuilt
from steelyard_privacy.shadow import Shadow

KEY, TABLE, COLUMNS = "privacy.shadow", "known", ("member", "loss")
LEAST = 20
"""Examples below which a half is no training set."""


def obstacles(draft: Draft) -> Iterator[Problem]:
    """What keeps a model from being trained on a half."""
    try:
        size = len(population(draft.data).indices)
    except Unsuitable as unsuitable:
        yield Problem(str(unsuitable), unsuitable.fix)
        return
    if size < LEAST:
        yield Problem(f"{size} training examples are too few to leave out half of them", "privacy=none")
        return
    yield Problem(
        f"about half of the {size} training examples are left out; whatever looks at the training split afterwards, "
        "such as a membership attack by the loss, takes them for trained on",
        "privacy=dp_sgd  (or another selection without shadow, for the model to keep)",
        level="note",
    )


def attach(plugin: Shadow, draft: Draft) -> "ShadowModel":
    """The attachment; its half is chosen, and the loader is cut to it."""
    indices = np.asarray(population(draft.data).indices)
    shadow = ShadowModel(indices, half(len(indices), model=plugin.model))
    draft.loaders.append(shadow.cut)
    return shadow


def half(size: int, *, model: int) -> NDArray[np.bool_]:
    """Who is in (size,): a fair coin for each example, and for every second model the other sides of the same coins."""
    digest = hashlib.sha256(f"shadow:{model // 2}".encode()).digest()
    coins = np.random.default_rng(int.from_bytes(digest[:8], "big")).integers(0, 2, size=size).astype(bool)
    return ~coins if model % 2 else coins


@final
class ShadowModel(Attachment):
    """Leaves half of the examples out, and says afterwards how well the model knows each."""

    def __init__(self, indices: NDArray[np.int64], members: NDArray[np.bool_]) -> None:
        self._indices = indices
        self._members = members

    def cut(self, loader: Iterable[Any]) -> DataLoader[Any]:
        """The same loader over this model's half."""
        source: Any = loader
        chosen = Subset(source.dataset, self._indices[self._members].tolist())
        in_order = isinstance(source.sampler, SequentialSampler)
        sampler = SequentialSampler(chosen) if in_order else RandomSampler(chosen, generator=source.generator)
        return rebuilt(source, chosen, sampler=sampler, collate_fn=source.collate_fn)

    @meant
    def measure(self, run: Run) -> Iterator[Measurement | Artefact]:
        """The losses by which the siblings are attacked; a model alone says nothing."""
        if not run.trained:
            yield Measurement(name="lira_auc", status=Status.SKIPPED, note="needs a training on half of the examples")
            return
        losses = run.predict("train").losses.double().numpy()
        if len(losses) != len(self._members):
            raise ValueError(f"the training split had {len(self._members)} examples and has {len(losses)} now")
        yield Measurement(
            name="members",
            value=float(self._members.sum()),
            unit="examples",
            count=len(self._members),
            note="trained on; the rest of the training split was left out",
        )
        yield Measurement(
            name="lira_auc",
            status=Status.SKIPPED,
            note="takes siblings: the page of a sweep with privacy.shadow.model=0,1,2,3,4,5 tells it, and "
            "steelyard compare RUNS",
        )
        yield Table(
            name=TABLE,
            title="Who was trained on, and the loss of every example of the training split",
            columns=COLUMNS,
            rows=[[int(member), float(loss)] for member, loss in zip(self._members, losses, strict=True)],
            split="train",
            shown=False,
        )
