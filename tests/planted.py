"""Made-up examples of every modality whose answer hangs on a known place, with a decoy of equal energy beside it.

An untrained model finds a bright patch as surely as a trained one. So beside what decides stands something as strong
that decides nothing: a method that only follows energy is drawn to both alike.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import torch
from pytorch_lightning import LightningDataModule, LightningModule
from torch import Tensor, nn
from torch.utils.data import DataLoader

from small_runs import TABLE, Points, frozen, train
from steelyard.adapters import Adapter, ClassScoring, TokenScoring
from steelyard.adapters.audio import AudioAdapter
from steelyard.adapters.image import ImageAdapter
from steelyard.adapters.text import TextAdapter
from steelyard.models.bert import Bert
from steelyard.models.encoder_decoder import EncoderDecoder
from steelyard.runs import Run
from steelyard.tasks import Classification, SequenceToSequence
from steelyard_interpretability import Attribution
from steelyard_interpretability._explain import study

Examples = tuple[Any, Tensor, Tensor]
"""What a data module is made of, and where what decides and where the decoy stands: booleans (N, K)."""
adam = partial(torch.optim.Adam, lr=0.005)


@dataclass(frozen=True, kw_only=True)
class Planted:
    """A made-up set and what learns it.

    Attributes:
        make: Count and seed -> examples and places.
        data: Examples -> data module.
        task: An untrained task; it draws from the global stream.
        adapter: Of the modality.
        epochs: Enough to learn it.
        count: Training examples.
    """

    make: Callable[[int, int], Examples]
    data: Callable[[Any], LightningDataModule]
    task: Callable[[], LightningModule]
    adapter: Adapter
    epochs: int
    count: int


@dataclass(frozen=True, kw_only=True)
class Landing:
    """Where a method's importance lands, on average over the examples in which something decides.

    Attributes:
        pointing: Share of the examples whose most important unit is one that decides.
        recall: Share of the most important units, as many as decide, that do decide.
        mass: Share of the absolute importance at what decides.
        decoy: The same at the decoy.
        decoyed: As `pointing`, at the decoy.
        chance: Share of the units that decide: what all of these are without any knowledge.
        accuracy: Of the model, on the same examples.
    """

    pointing: float
    recall: float
    mass: float
    decoy: float
    decoyed: float
    chance: float
    accuracy: float


def landings(
    planted: Planted, *, methods: Sequence[str], seed: int, trained: bool, samples: int = 60
) -> dict[str, Landing]:
    """Method -> `Landing`, on examples that nobody trained on, by the plugin's own way from run to units."""
    run, held = grown(planted, seed=seed, trained=trained, count=4 * samples)
    found = study(run, Attribution(methods=tuple(methods), samples=samples, pictures=0, removals=2, random_orders=1))
    assert not found.refused
    places = [*found.samples.numbers]
    accuracy = float(run.predict("val").marks.mean())
    return {
        name: landed(judged.units, held[1][places], held[2][places], accuracy=accuracy)
        for name, judged in found.judged.items()
    }


@lru_cache(maxsize=6)
def grown(planted: Planted, *, seed: int, trained: bool, count: int = 240) -> tuple[Run, Examples]:
    """What has learnt, or has not, and examples that nobody trained on."""
    held = planted.make(count, seed + 1000)
    if trained:
        fit = planted.make(planted.count, seed)
        task = train(planted.task, planted.data(fit[0]), epochs=planted.epochs, seed=seed)
    else:
        torch.manual_seed(seed)
        task = planted.task()
    return frozen(task, planted.data(held[0]), adapter=planted.adapter), held


def landed(units: Tensor, truth: Tensor, decoy: Tensor, *, accuracy: float) -> Landing:
    """Where importance (N, K) lands."""
    there = truth.any(dim=1)
    strength, truth, decoy = units[there].double().abs(), truth[there], decoy[there]
    share = strength / strength.sum(dim=1, keepdim=True).clamp(min=1e-30)
    count = truth.sum(dim=1)
    first = strength.argsort(dim=1, descending=True).argsort(dim=1) < count[:, None]
    top = strength.argmax(dim=1, keepdim=True)
    return Landing(
        pointing=float(truth.gather(1, top).double().mean()),
        recall=float(((first & truth).sum(dim=1) / count).mean()),
        mass=float((share * truth).sum(dim=1).mean()),
        decoy=float((share * decoy).sum(dim=1).mean()),
        decoyed=float(decoy.gather(1, top).double().mean()),
        chance=float(truth.double().mean()),
        accuracy=accuracy,
    )


def _apart(count: int, places: int, *, kinds: int, noise: torch.Generator) -> Tensor:
    """Different places for each example: (count, kinds)."""
    return torch.rand(count, places, generator=noise).argsort(dim=1)[:, :kinds]


def _marked(places: Tensor, units: int) -> Tensor:
    return torch.zeros(len(places), units, dtype=torch.bool).scatter_(1, places, value=True)


KINDS = 4
"""Of what decides, and of decoys. One more class has nothing of the former, or a class could be told by exclusion."""
SIDE, PATCH = 20, 5


def _drawn(count: int, noise: torch.Generator) -> tuple[Tensor, Tensor]:
    """Classes, the last one being "none of them", and kinds of decoys."""
    return torch.randint(KINDS + 1, (count,), generator=noise), torch.randint(KINDS, (count,), generator=noise)


def _patterns() -> Tensor:
    """Two times four patches of ones and minus ones, drawn once."""
    noise = torch.Generator().manual_seed(7)
    return torch.randint(2, (2, KINDS, PATCH, PATCH), generator=noise).float() * 2 - 1


def pictures(count: int, seed: int) -> Examples:
    """Noise with a patch of one of four patterns, which is the class, and one of four others, which is nothing.

    A pixel of a patch has the mean square of a pixel of the noise.
    """
    noise = torch.Generator().manual_seed(seed)
    drawn = _drawn(count, noise)
    cells = SIDE // PATCH
    places = _apart(count, cells * cells, kinds=2, noise=noise)
    pixels = torch.randn(count, 1, SIDE, SIDE, generator=noise)
    masks = torch.zeros(2, count, SIDE, SIDE, dtype=torch.bool)
    for kind, patterns in enumerate(_patterns()):
        for row, place in enumerate(places[:, kind].tolist()):
            pattern, top, left = int(drawn[kind][row]), place // cells * PATCH, place % cells * PATCH
            if pattern < KINDS:
                pixels[row, 0, top : top + PATCH, left : left + PATCH] = patterns[pattern]
                masks[kind, row, top : top + PATCH, left : left + PATCH] = True
    return (pixels, drawn[0]), masks[0].flatten(1), masks[1].flatten(1)


LENGTH, WINDOW = 1600, 64
TONES = ((100.0, 200.0, 300.0, 400.0), (150.0, 250.0, 350.0, 450.0))


def sounds(count: int, seed: int) -> Examples:
    """A second of noise at 1,600 Hz with two bursts of tones: one of four, which is the class, and one of four others.

    A burst has the mean square of the noise.
    """
    noise = torch.Generator().manual_seed(seed)
    drawn = _drawn(count, noise)
    units = LENGTH // WINDOW
    places = _apart(count, units, kinds=2, noise=noise)
    samples = torch.randn(count, LENGTH, generator=noise)
    time = torch.arange(WINDOW) / LENGTH
    for kind, tones in enumerate(TONES):
        phases = torch.rand(count, generator=noise)
        for row, place in enumerate(places[:, kind].tolist()):
            if int(drawn[kind][row]) < KINDS:
                wave = torch.sin(2 * torch.pi * (tones[int(drawn[kind][row])] * time + phases[row]))
                samples[row, place * WINDOW : (place + 1) * WINDOW] = 2**0.5 * wave
    there = (drawn[0] < KINDS)[:, None]
    return (samples, drawn[0]), _marked(places[:, :1], units) & there, _marked(places[:, 1:], units)


COLUMNS, TRUE, FALSE = 16, (3, 7, 11), (1, 5, 9)


def rows(count: int, seed: int) -> Examples:
    """Columns of equal spread, of which three decide: whether 2 a - 3 b + 2 a c is above 0."""
    noise = torch.Generator().manual_seed(seed)
    table = torch.randn(count, COLUMNS, generator=noise)
    first, second, third = (table[:, column] for column in TRUE)
    labels = (2 * first - 3 * second + 2 * first * third > 0).long()
    marks = (torch.tensor([columns]).expand(count, -1) for columns in (TRUE, FALSE))
    truth, decoy = (_marked(places, COLUMNS) for places in marks)
    return (table, labels), truth, decoy


WORDS, VOCABULARY = 12, 24
PAD, BEGIN, END = 0, 1, 2


def texts(count: int, seed: int) -> Examples:
    """Twelve words, with one of four keywords among them, which is the class, and one of four others."""
    noise = torch.Generator().manual_seed(seed)
    labels, others = _drawn(count, noise)
    tokens = torch.randint(11, VOCABULARY, (count, WORDS), generator=noise)
    places = _apart(count, WORDS, kinds=2, noise=noise)
    there = labels < KINDS
    keywords = torch.where(there, 3 + labels, 11 + others)
    tokens.scatter_(1, places, torch.stack([keywords, 7 + others], dim=1))
    batch = {"input_ids": tokens, "attention_mask": torch.ones_like(tokens), "labels": labels}
    return batch, _marked(places[:, :1], WORDS) & there[:, None], _marked(places[:, 1:], WORDS)


def answers(count: int, seed: int) -> Examples:
    """Ten words; the answer is the two of the first kind in the order of their places; two others are never in it.

    The two are different words: of two that are the same either would do alone, and neither is what decides.
    """
    noise = torch.Generator().manual_seed(seed)
    length = 10
    tokens = torch.randint(16, VOCABULARY, (count, length), generator=noise)
    places = _apart(count, length, kinds=4, noise=noise)
    told, others = (_apart(count, 6, kinds=2, noise=noise) for _ in range(2))
    tokens.scatter_(1, places, torch.cat([3 + told, 9 + others], dim=1))
    ordered = tokens.gather(1, places[:, :2].sort(dim=1).values)
    labels = torch.cat([ordered, torch.full((count, 1), END)], dim=1)
    batch = {"input_ids": tokens, "attention_mask": torch.ones_like(tokens), "labels": labels}
    return batch, _marked(places[:, :2], length), _marked(places[:, 2:], length)


class Mapped(LightningDataModule):
    """A mapping of tensors as every split, in batches that are mappings."""

    def __init__(self, columns: dict[str, Tensor]) -> None:
        super().__init__()
        self._rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]

    def train_dataloader(self) -> Any:
        return DataLoader(self._rows, batch_size=32, shuffle=True)

    def val_dataloader(self) -> Any:
        return DataLoader(self._rows, batch_size=32)

    test_dataloader = val_dataloader


class Waves(nn.Sequential):
    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs[:, None])


def _classes(model: Callable[[], nn.Module]) -> Callable[[], LightningModule]:
    return lambda: Classification(model=model(), optimizer=adam, classes=KINDS + 1)


def _seeing() -> nn.Module:
    body = (nn.Conv2d(1, 32, PATCH), nn.ReLU(), nn.AdaptiveMaxPool2d(1), nn.Flatten())
    return nn.Sequential(*body, nn.Linear(32, KINDS + 1))


def _hearing() -> nn.Module:
    body = (nn.Conv1d(1, 24, 32, stride=4), nn.ReLU(), nn.Conv1d(24, 24, 5), nn.ReLU())
    return Waves(*body, nn.AdaptiveMaxPool1d(1), nn.Flatten(), nn.Linear(24, KINDS + 1))


def weighing(*, rate: float = 0.01) -> LightningModule:
    """What learns the table."""
    body = (nn.Linear(COLUMNS, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU())
    return Classification(
        model=nn.Sequential(*body, nn.Linear(32, 2)), optimizer=partial(torch.optim.Adam, lr=rate), classes=2
    )


def _reading() -> nn.Module:
    return Bert(vocab_size=VOCABULARY, max_length=WORDS, classes=KINDS + 1, width=32, layers=1, heads=2, dropout=0.0)


def _writing() -> LightningModule:
    model = EncoderDecoder(
        **{"vocab_size": VOCABULARY, "pad_token_id": PAD, "bos_token_id": BEGIN, "eos_token_id": END},
        max_length=16,
        width=32,
        layers=1,
        heads=2,
        dropout=0.0,
    )
    return SequenceToSequence(model=model, optimizer=partial(torch.optim.Adam, lr=0.003), max_length=4)


def _points(examples: Any) -> LightningDataModule:
    return Points(*examples)


PLANTED = {
    "image": Planted(
        make=pictures,
        data=_points,
        task=_classes(_seeing),
        adapter=ImageAdapter(scoring=ClassScoring(), bounds=None),
        epochs=18,
        count=1200,
    ),
    "table": Planted(make=rows, data=_points, task=weighing, adapter=TABLE, epochs=20, count=4000),
    "text": Planted(
        make=texts,
        data=Mapped,
        task=_classes(_reading),
        adapter=TextAdapter(scoring=ClassScoring(), bounds=None),
        epochs=6,
        count=1000,
    ),
    "audio": Planted(
        make=sounds,
        data=_points,
        task=_classes(_hearing),
        adapter=AudioAdapter(scoring=ClassScoring(), bounds=None, sample_rate=LENGTH),
        epochs=10,
        count=1000,
    ),
    "sequence": Planted(
        make=answers,
        data=Mapped,
        task=_writing,
        adapter=TextAdapter(scoring=TokenScoring(), bounds=None),
        epochs=30,
        count=1500,
    ),
}
