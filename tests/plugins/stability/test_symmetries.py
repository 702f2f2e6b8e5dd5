"""What the user says must not matter: symmetries of the inputs, and pairs of texts."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from small_runs import IMAGES, TABLE, Points, digits_task, frozen, table_task
from steelyard.adapters import ClassScoring
from steelyard.adapters.text import TextAdapter
from steelyard.draft import Draft
from steelyard.measurement import Measurement
from steelyard.problem import Refused
from steelyard.runs import Run
from steelyard_stability import Consistency
from steelyard_stability._consistency import ConsistencyAttachment
from steelyard_stability._symmetries import KNOWN, moved, pairs

PICTURES = torch.rand(40, 1, 6, 6, generator=torch.Generator().manual_seed(0))


class Heavier(nn.Module):
    """Which half holds more: right or left, or any half in `whole`."""

    def __init__(self, *, whole: bool = False) -> None:
        super().__init__()
        self.whole = whole

    def forward(self, inputs: Tensor) -> Tensor:
        halves = torch.stack([inputs[..., :3].sum(dim=(1, 2, 3)), inputs[..., 3:].sum(dim=(1, 2, 3))], dim=1)
        return halves.sort(dim=1).values if self.whole else halves


def told(run: Run, plugin: Consistency) -> dict[str, Measurement]:
    rows = [row for row in ConsistencyAttachment(plugin).measure(run) if isinstance(row, Measurement)]
    return {str(row.at["way"]): row for row in rows}


def picture_run(*, whole: bool = False) -> Run:
    return frozen(digits_task(Heavier(whole=whole)), Points(PICTURES, torch.zeros(40).long()), adapter=IMAGES)


def shifted(inputs: Tensor) -> Tensor:
    """A symmetry of one's own."""
    return inputs.roll(3, dims=-1)


def test_a_named_symmetry_shows_what_the_model_does_not_respect() -> None:
    plugin = Consistency(symmetries=("mirror", "upside_down", f"{__name__}.shifted"))

    rows = told(picture_run(), plugin)

    assert rows["mirror"].value == 1
    assert rows[f"{__name__}.shifted"].value == 1
    assert rows["upside_down"].value == 0
    assert rows["again"].value == 0
    assert "symmetry mirror" in rows["mirror"].meaning
    assert told(picture_run(whole=True), plugin)["mirror"].value == 0


def test_the_known_symmetries_are_what_they_are_called() -> None:
    square = torch.arange(6.0).reshape(1, 2, 3)[..., :2]
    assert {name: change(square).flatten().tolist() for name, change in KNOWN.items()} == {
        "mirror": [1, 0, 4, 3],
        "upside_down": [3, 4, 0, 1],
        "half_turn": [4, 3, 1, 0],
        "quarter_turn": [1, 4, 0, 3],
        "transpose": [0, 3, 1, 4],
        "negate": [0, -1, -3, -4],
    }
    with pytest.raises(Refused, match="makes"):
        moved("transpose", torch.rand(2, 3, 4))


def drafted(adapter: object) -> Draft:
    return Draft(task=digits_task(), data=Points(PICTURES, torch.zeros(40).long()), trainer={}, adapter=adapter, seed=0)  # type: ignore[arg-type]


def test_preflight_names_what_is_no_symmetry_and_no_file(tmp_path: Path) -> None:
    for name in ("mirrored", "nowhere.at_all", "math.pi"):
        (problem,) = Consistency(symmetries=(name,)).preflight(drafted(IMAGES))
        assert problem.message.startswith(f"{name} is no symmetry")
    words = TextAdapter(scoring=ClassScoring(), bounds=None)
    (problem,) = Consistency(paraphrases=tmp_path / "none.csv").preflight(drafted(words))
    assert "cannot be read" in problem.message
    good = tmp_path / "good.csv"
    good.write_text("one,other\na,b\n", encoding="utf-8")
    assert not [*Consistency(paraphrases=good).preflight(drafted(words))]
    (problem,) = Consistency(paraphrases=good).preflight(drafted(TABLE))
    assert "no texts" in problem.message


@pytest.mark.parametrize("text", ["", "one,other\n", "one,other\na\n", "one,other\na,\n", "one,other\na,b,c\n"])
def test_a_file_without_pairs_is_told_so(tmp_path: Path, text: str) -> None:
    file = tmp_path / "pairs.csv"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match="row"):
        pairs(file)


class Long(nn.Module):
    """Whether a text has more than two letters; token 0 is padding."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(128, 2)

    def forward(self, tokens: Tensor) -> Tensor:
        long = ((tokens > 0).sum(dim=1) > 2).float() + 0 * self.embedding(tokens).sum(dim=(1, 2))
        return torch.stack([0.5 - long, long - 0.5], dim=1)


def test_both_texts_of_a_pair_are_asked(tmp_path: Path) -> None:
    file = tmp_path / "pairs.csv"
    file.write_text('one,other\nab,"a\nb,好的"\nabc,abcd\nok,"a,b"\n' + "x,y\n" * 37, encoding="utf-8")

    def tokenise(texts: list[str]) -> dict[str, Tensor]:
        most = max(map(len, texts))
        rows = torch.tensor([[min(ord(letter), 127) for letter in text.ljust(most, "\0")] for text in texts])
        return {"input_ids": rows, "attention_mask": (rows > 0).long()}

    adapter = TextAdapter(scoring=ClassScoring(), bounds=None, tokens=0, labels=1, mask="none")
    adapter = replace(adapter, tokenise=tokenise)  # type: ignore[arg-type]
    run = frozen(table_task(Long()), Points(torch.ones(6, 4).long(), torch.zeros(6).long()), adapter=adapter)

    row = told(run, Consistency(paraphrases=file, examples=6))["paraphrase"]

    assert row.count == 40
    assert row.value == pytest.approx(2 / 40)
    assert row.split is None
