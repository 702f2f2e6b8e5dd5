"""What can happen to a batch, whatever its modality: the adapter says which family of corruptions it gets."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from steelyard.adapters import Retelling
from steelyard.measurement import Artefact
from steelyard.narrowing import is_mapping
from steelyard.problem import refuse
from steelyard.runs import Run
from steelyard_stability.corruptions import _audio, _blurs, _digital, _noises, _table, _text, _video, _weather
from steelyard_stability.corruptions._dice import Dice
from steelyard_stability.corruptions._pairs import Pair, heard, pictured, read
from steelyard_stability.corruptions._table import Columns
from steelyard_stability.corruptions._text import Rules
from steelyard_stability.corruptions.kinds import kinds_of

Corrupt = Callable[[Tensor, int, Dice], Tensor]
"""Inputs (B, ...), a severity from 1 to 5, and dice -> inputs of the same shape."""
NOISE = (0.05, 0.1, 0.2, 0.3, 0.5)
"""Of the standard deviation of the inputs, where nothing else is known of them."""
TEXTS = 16
"""That are asked about together: what is saved by more is lost to padding."""
OWN_DRAWS = ("gaussian_noise", "shot_noise", "impulse_noise")
"""Kinds that are drawn anew for every frame of a video; snow or a moving camera last longer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Corrupted:
    """A batch after something has happened to it.

    Attributes:
        batch: The same examples.
        touched: Whether anything of the example changed: booleans (B,).
    """

    batch: Any
    touched: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Damaged examples that the model is asked about together.

    Attributes:
        rows: Which of the batch they are (b,).
        batch: They alone.
    """

    rows: Tensor
    batch: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """What happened to a batch, as far as the model is to be asked about it.

    Attributes:
        touched: Whether anything of the example changed: booleans (B,).
        pieces: The examples of which the model reads something else now, some at a time.
    """

    touched: Tensor
    pieces: Sequence[Piece]


class Family(ABC):
    """The corruptions of one modality.

    Attributes:
        kinds: Their names.
        note: What to know of all of them.
    """

    kinds: tuple[str, ...]
    note: str = ""

    @abstractmethod
    def corrupted(self, batch: Any, *, kind: str, severity: int, numbers: Sequence[int]) -> Corrupted:
        """The batch, whose examples have these places in the split, corrupted; at severity 0 as it is."""

    @abstractmethod
    def damage(self, batch: Any, *, kind: str, severity: int, numbers: Sequence[int], size: int) -> Damage:
        """What has changed in such a batch, at most `size` examples in a piece."""

    @abstractmethod
    def show(self, pairs: Sequence[Pair], *, split: str) -> Iterator[Artefact]:
        """Clean and damaged examples side by side; at least one."""


@final
class Continuous(Family):
    """Corruptions of the continuous view of a batch.

    Args:
        run: The run.
        table: Kind -> what it does to inputs.
        ends: What is 0 and what is 1 for the table.
        clip: Whether what comes out is pushed back between 0 and 1.
        heard: Samples a second, where the inputs are sounds.
        note: What to know.
    """

    def __init__(
        self,
        run: Run,
        table: Mapping[str, Corrupt],
        *,
        ends: tuple[float, float] = (0.0, 1.0),
        clip: bool = False,
        heard: int | None = None,
        note: str = "",
    ) -> None:
        self.kinds = tuple(table)
        self.note = note
        self._run, self._table, self._ends, self._clip = run, table, ends, clip
        self._heard = heard

    def corrupted(self, batch: Any, *, kind: str, severity: int, numbers: Sequence[int]) -> Corrupted:
        """Every example by its own dice."""
        run = self._run
        inputs = run.adapter.inputs(run.task, batch)
        if severity == 0:
            changed = run.adapter.clip(inputs)
        else:
            dice = Dice(run.seed, kind=kind, severity=severity, numbers=numbers)
            low, high = self._ends
            wide = high - low
            unit = self._table[kind]((inputs.detach() - low) / wide, severity, dice)
            unit = unit.clamp(0, 1) if self._clip else unit
            changed = run.adapter.clip(unit * wide + low).to(inputs)
        touched = (changed != inputs).flatten(start_dim=1).any(dim=1)
        return Corrupted(batch=run.adapter.replace(batch, changed), touched=touched.cpu())

    def damage(self, batch: Any, *, kind: str, severity: int, numbers: Sequence[int], size: int) -> Damage:
        """The touched examples in their order."""
        made = self.corrupted(batch, kind=kind, severity=severity, numbers=numbers)
        if bool(made.touched.all()) and len(made.touched) <= size:
            return Damage(touched=made.touched, pieces=[Piece(rows=torch.arange(len(numbers)), batch=made.batch)])
        where, take, device = made.touched.nonzero()[:, 0], self._run.adapter.take, self._run.device
        parts = [where[first : first + size] for first in range(0, len(where), size)]
        pieces = [Piece(rows=rows, batch=take(made.batch, rows.to(device))) for rows in parts]
        return Damage(touched=made.touched, pieces=pieces)

    def show(self, pairs: Sequence[Pair], *, split: str) -> Iterator[Artefact]:
        """Drawn by the adapter, with what was changed; sounds are heard, too."""
        yield pictured(self._run, pairs, split=split)
        if self._heard is not None:
            yield from heard(self._run, pairs, split=split, rate=self._heard)


@final
class Retold(Family):
    """Corruptions of texts, which are read again by the run's own tokeniser.

    Args:
        run: The run.
        split: Whose texts.
        retelling: The adapter's.
        rules: What holds for every text.
    """

    def __init__(self, run: Run, *, split: str, retelling: Retelling, rules: Rules) -> None:
        self.kinds = tuple(_text.KINDS)
        self.note = (
            f"at most {rules.budget:.0%} of the words edited at severity 5; numbers, negations and names never are"
        )
        self._run, self._retelling, self._rules = run, retelling, rules
        self._texts = retelling.texts(split)

    def corrupted(self, batch: Any, *, kind: str, severity: int, numbers: Sequence[int]) -> Corrupted:
        """Every text by its own stream."""
        told = [self._texts[number] for number in numbers]
        new = [self._told(number, kind=kind, severity=severity) for number in numbers]
        touched = torch.tensor([one != other for one, other in zip(told, new, strict=True)])
        return Corrupted(batch=self._retelling.retold(batch, new), touched=touched)

    def damage(self, batch: Any, *, kind: str, severity: int, numbers: Sequence[int], size: int) -> Damage:
        """The texts that are read otherwise, those of one length together, so that none is padded to the longest."""
        told = [self._texts[number] for number in numbers]
        new = [self._told(number, kind=kind, severity=severity) for number in numbers]
        touched = [at for at, (one, other) in enumerate(zip(told, new, strict=True)) if one != other]
        touched.sort(key=lambda at: len(new[at]))
        pieces: list[Piece] = []
        most = min(size, TEXTS)
        for first in range(0, len(touched), most):
            places = touched[first : first + most]
            rows = torch.tensor(places)
            part = self._run.adapter.take(batch, rows.to(self._run.device))
            before, after = (self._retelling.retold(part, [these[at] for at in places]) for these in (told, new))
            other = ~_same_rows(before, after, count=len(places))
            if bool(other.any()):
                asked = after if bool(other.all()) else self._run.adapter.take(after, other.nonzero()[:, 0])
                pieces.append(Piece(rows=rows[other.cpu()], batch=asked))
        return Damage(touched=torch.tensor([one != other for one, other in zip(told, new, strict=True)]), pieces=pieces)

    def show(self, pairs: Sequence[Pair], *, split: str) -> Iterator[Artefact]:
        """The texts before and after."""
        after = [self._told(pair.number, kind=pair.kind, severity=pair.severity) for pair in pairs]
        yield read(pairs, [self._texts[pair.number] for pair in pairs], after, split=split)

    def _told(self, number: int, *, kind: str, severity: int) -> str:
        text = self._texts[number]
        if severity == 0:
            return text
        stream = Dice(self._run.seed, kind=kind, severity=severity, numbers=[number]).streams[0]
        return _text.KINDS[kind](text, severity, stream, self._rules)


def _same_rows(one: Any, other: Any, *, count: int) -> Tensor:
    """Which of the examples of two batches the model reads alike, bit by bit (B,); none where one is longer."""
    found: list[tuple[Any, Any]] = (
        [(one[key], other[key]) for key in one] if is_mapping(one) else [*zip(one, other, strict=True)]
    )
    tensors: list[tuple[Tensor, Tensor]] = [
        two for two in found if isinstance(two[0], Tensor) and two[0].dim() and len(two[0]) == count
    ]
    if not tensors or any(old.shape != new.shape for old, new in tensors):
        return torch.zeros(count, dtype=torch.bool)
    return torch.stack([(old == new).reshape(count, -1).all(dim=1) for old, new in tensors]).all(dim=0)


def family_for(run: Run, *, split: str, rules: Rules) -> Family:
    """The corruptions of a run's modality.

    Raises:
        Refused: If they are texts that nobody can read.
    """
    makers: dict[str, Callable[[Run], Family]] = {
        "image": _images,
        "detection": _images,
        "video": _videos,
        "audio": _sounds,
        "table": lambda run: _rows(run, split),
    }
    modality = run.adapter.modality
    if modality in makers:
        return makers[modality](run)
    if modality == "text":
        if not isinstance(run.adapter, Retelling):
            raise refuse(f"{type(run.adapter).__name__} has no `texts` and `retold`, so its texts cannot be edited")
        return Retold(run, split=split, retelling=run.adapter, rules=rules)
    return _anything(run, split)


def _plain() -> dict[str, Corrupt]:
    modules = (_noises, _blurs, _weather, _digital)
    return {kind: next(vars(one)[kind] for one in modules if kind in vars(one)) for kind in kinds_of("image")}


def _images(run: Run) -> Family:
    return Continuous(run, _plain(), clip=True, ends=_ends(run), note=_lengths())


def _lengths() -> str:
    return f"as in ImageNet-C, with lengths for a side of {_blurs.SIDE} pixels scaled to this one"


def _ends(run: Run) -> tuple[float, float]:
    return run.adapter.bounds or _extremes(run)


def _extremes(run: Run) -> tuple[float, float]:
    """The smallest and largest raw value of the test split, where nobody declared them."""
    found = [run.adapter.inputs(run.task, run.to_device(raw)).detach().aminmax() for raw in run.loader("test")]
    low, high = min(float(one.min) for one in found), max(float(one.max) for one in found)
    return low, high if high > low else low + 1


def _videos(run: Run) -> Family:
    def by_frame(kind: str, act: Corrupt) -> Corrupt:
        def corrupt(videos: Tensor, severity: int, dice: Dice) -> Tensor:
            count = videos.shape[1]
            frames = [act(videos[:, at], severity, dice if kind in OWN_DRAWS else dice.again()) for at in range(count)]
            return torch.stack(frames, dim=1)

        return corrupt

    table: dict[str, Corrupt] = {"frame_drop": _video.frame_drop, "frame_order": _video.frame_order}
    table |= {kind: by_frame(kind, act) for kind, act in _plain().items()}
    return Continuous(run, table, clip=True, ends=_ends(run), note=_lengths())


def _sounds(run: Run) -> Family:
    rate: int | None = getattr(run.adapter, "sample_rate", None)

    def bound(kind: str) -> Corrupt:
        act = vars(_audio)[kind]
        return lambda sounds, severity, dice: act(sounds, severity, dice, rate=rate)

    return Continuous(run, {kind: bound(kind) for kind in kinds_of("audio")}, heard=rate or _audio.UNKNOWN_RATE)


def _rows(run: Run, split: str) -> Family:
    columns = _columns(run.adapter.inputs(run.task, run.to_device(raw)).detach() for raw in run.loader(split))

    def bound(kind: str) -> Corrupt:
        act = vars(_table)[kind]
        return lambda rows, severity, dice: act(rows, severity, dice, columns=columns)

    return Continuous(
        run, {kind: bound(kind) for kind in kinds_of("table")}, note="deviations and means are those of the split"
    )


def _anything(run: Run, split: str) -> Family:
    found = _columns(
        run.adapter.inputs(run.task, run.to_device(raw)).detach().flatten()[:, None] for raw in run.loader(split)
    )
    spread = float(found.deviation)

    def noise(inputs: Tensor, severity: int, dice: Dice) -> Tensor:
        return inputs + NOISE[severity - 1] * spread * dice.normal(*inputs.shape[1:]).to(inputs)

    return Continuous(run, {"noise": noise}, note="noise in standard deviations of all values of the split")


def _columns(parts: Iterator[Tensor]) -> Columns:
    """Mean and deviation over all rows, batch by batch, so that memory does not grow with the split (Welford 1962)."""
    count, mean, squares = 0, torch.zeros(()), torch.zeros(())
    for part in parts:
        rows = part.double()
        middle, both = rows.mean(dim=0), count + len(rows)
        away = middle - mean
        squares = squares + (rows - middle).square().sum(dim=0) + away.square() * (count * len(rows) / both)
        count, mean = both, mean + away * (len(rows) / both)
    return Columns(mean=mean, deviation=(squares / count).sqrt())
