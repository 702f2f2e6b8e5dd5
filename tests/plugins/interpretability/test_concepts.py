from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric, MetricCollection

from questions_to_models import to_model
from small_runs import IMAGES, Points, frozen, parted, table_task
from steelyard.adapters import ClassScoring
from steelyard.adapters.table import TableAdapter
from steelyard.measurement import Measurement, Picture, Status
from steelyard_interpretability._concept_numbers import cell, holm
from steelyard_interpretability._concept_rows import inside, outside
from steelyard_interpretability._concept_sets import complaints
from steelyard_interpretability._concepts import ConceptsAttachment
from steelyard_interpretability.concepts import Concepts
from steelyard_interpretability.measures.concept import RIDGE, direction, weighed
from steelyard_interpretability.methods.layers import chosen_layer, layer_of, no_such_layer, seen_at

NAMES = ("size", "weight", "<b>λ</b>", "rest", "shape", "age")
NAMED = TableAdapter(scoring=ClassScoring(), bounds=None, columns=NAMES, names=("no", "yes"))
SLOPE = torch.tensor([3.0, -2.0, 1.0, 0.0, 0.0, 0.0])
WIDE = torch.cat([torch.tensor([3.0, -3.0, 1.0]), torch.zeros(61)])


def linear(slope: Tensor = SLOPE) -> Any:
    """Says yes by the plane that parts the rows; the layer below gives the row itself."""
    model = nn.Sequential(nn.Identity(), nn.Linear(len(slope), 2))
    with torch.no_grad():
        model[1].weight.copy_(torch.stack([-slope, slope]))
        model[1].bias.zero_()
    return table_task(model)


def small(*sets: str, **others: Any) -> ConceptsAttachment:
    settings: dict[str, Any] = {"layer": "model.0", "samples": 60, "counterparts": 4, "random_concepts": 14, **others}
    return ConceptsAttachment(Concepts(sets=sets, **settings))


def rows_of(items: Any) -> dict[tuple[str, ...], Measurement]:
    return {(item.name, *map(str, item.at.values())): item for item in items if isinstance(item, Measurement)}


def noise(count: int, shift: Tensor, seed: int = 5) -> np.ndarray[Any, Any]:
    return (torch.randn(count, len(shift), generator=torch.Generator().manual_seed(seed)) + shift).numpy()


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[tuple[str, ...], Measurement], list[Any]]:
    """Sets of rows moved along one column each, and one that is not moved; all that is right is known."""
    folder = tmp_path_factory.mktemp("sets")
    shifts = {"for": 0, "against": 1, "ignored": 4}
    for name, column in shifts.items():
        np.save(folder / f"{name}.npy", noise(80, 6 * torch.eye(64)[column]))
    np.save(folder / "nothing.npy", noise(80, torch.zeros(64)))
    sets = [f"rows:{folder / name}.npy" for name in (*shifts, "nothing")]
    inputs = torch.tensor(noise(300, torch.zeros(64), seed=6))
    run = frozen(linear(WIDE), Points(inputs, (inputs @ WIDE > 0).long()), adapter=NAMED)
    items = [*small(*sets, "word:x").measure(run)]
    rows = {(key[0], *(Path(part).stem for part in key[1:])): row for key, row in rows_of(items).items()}
    return rows, items


def test_a_planted_concept_gets_the_derivative_that_the_linear_model_has(planted: Any) -> None:
    rows, _ = planted
    for name, column in (("for", 0), ("against", 1)):
        for decision, sign in (("yes", 1), ("no", -1)):
            row = rows["sensitivity", name, decision]
            right = sign * float(WIDE[column] / WIDE.norm())
            assert row.status is Status.MEASURED
            assert row.value == pytest.approx(right, abs=0.08)
            assert rows["score", name, decision].value == (right > 0)
            assert rows["score", name, decision].split == "val"


def test_a_concept_that_the_model_ignores_is_invalid_and_so_is_one_that_is_none(planted: Any) -> None:
    rows, _ = planted
    ignored = rows["score", "ignored", "yes"]
    assert rows["accuracy", "ignored"].value > 0.8
    assert ignored.status is Status.INVALID
    assert "random concepts do as much" in ignored.note
    nothing = rows["score", "nothing", "yes"]
    assert nothing.status is Status.INVALID
    assert "does not tell it from random examples" in nothing.note
    assert rows["random_accuracy", "nothing"].value == pytest.approx(0.5, abs=0.06)


def test_what_the_data_does_not_have_is_skipped_and_the_others_are_drawn(planted: Any) -> None:
    rows, items = planted
    assert rows["score", "word:x"].status is Status.SKIPPED
    assert "no text" in rows["score", "word:x"].note
    (picture,) = [item for item in items if isinstance(item, Picture)]
    assert picture.png.startswith(b"\x89PNG")
    assert "score 1.00" in picture.alt


def test_the_folder_that_a_set_lies_in_changes_no_number(tmp_path: Path) -> None:
    inputs = torch.tensor(noise(120, torch.zeros(6), seed=6))
    found: list[list[float | None]] = []
    for folder in (tmp_path / "here", tmp_path / "somewhere" / "else"):
        folder.mkdir(parents=True)
        np.save(folder / "set.npy", noise(40, 2 * torch.eye(6)[0]))
        run = frozen(linear(), Points(inputs, (inputs @ SLOPE > 0).long()), adapter=NAMED)
        items = [*small(f"rows:{folder / 'set.npy'}", random_concepts=4, samples=30).measure(run)]
        found.append([row.value for row in items if isinstance(row, Measurement)])
    assert found[0] == found[1]
    assert any(found[0])


def test_a_direction_is_that_of_ridge_regression_with_the_weights_written_out() -> None:
    stream = np.random.default_rng(0)
    rows, gradients = torch.tensor(stream.normal(size=(40, 5))), torch.tensor(stream.normal(size=(7, 5)))
    rows[:20, 0] += 1
    ours, theirs = stream.permutation(20), 20 + stream.permutation(20)
    found = direction(rows @ rows.T, gradients @ rows.T, ours=ours, theirs=theirs)

    used = np.concatenate([ours[:13], theirs[:13]])
    centred = rows[used] - rows[used].mean(dim=0)
    signs = torch.cat([torch.ones(13), -torch.ones(13)]).double()
    ridge = RIDGE * float(centred.square().sum(dim=1).mean())
    slope = torch.linalg.solve(centred.T @ centred + ridge * torch.eye(5).double(), centred.T @ signs)
    torch.testing.assert_close(found.slopes, gradients @ slope / slope.norm(), rtol=0, atol=1e-9)
    held = np.concatenate([ours[13:], theirs[13:]])
    side = (rows[held] - rows[used].mean(dim=0)) @ slope > 0
    assert found.accuracy == pytest.approx(float((side == torch.tensor([True] * 7 + [False] * 7)).double().mean()))


def test_parity_with_captum_called_by_hand(tmp_path: Path) -> None:
    from captum.concept import TCAV, Classifier, Concept

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 2)).double()
    ours, theirs = (torch.tensor(noise(30, shift)).double() for shift in (SLOPE / 3, torch.zeros(6)))
    x = torch.tensor(noise(50, torch.zeros(6), seed=9)).double()
    seen = seen_at(to_model(model, x, decisions=torch.ones(50, dtype=torch.long)), "1")
    with torch.no_grad():
        features = model[:2](torch.cat([ours, theirs]))
    places = np.arange(30)
    mine = direction(features @ features.T, seen.gradients @ features.T, ours=places, theirs=places + 30)
    torch.testing.assert_close(seen.activations, model[:2](x).detach())

    class Ridge(Classifier):
        """The same least squares with the weights written out; Captum wants one row a concept."""

        def __init__(self) -> None:
            self.slope = torch.zeros(8)

        def train_and_eval(self, dataloader: Any, **others: Any) -> dict[str, float]:
            rows, labels = (torch.cat(parts) for parts in zip(*dataloader, strict=True))
            order = [row for label in (0, 1) for row in (labels == label).nonzero()[:20, 0].tolist()]
            centred = rows[order] - rows[order].mean(dim=0)
            ridge = RIDGE * float(centred.square().sum(dim=1).mean())
            signs = torch.cat([torch.ones(20), -torch.ones(20)]).to(rows)
            self.slope = torch.linalg.solve(centred.T @ centred + ridge * torch.eye(8).to(rows), centred.T @ signs)
            return {"accs": 0.0}

        def weights(self) -> Tensor:
            return torch.stack([self.slope, -self.slope])

        def classes(self) -> list[int]:
            return [0, 1]

    concepts = [Concept(0, "ours", [*ours.split(10)]), Concept(1, "theirs", [*theirs.split(10)])]
    tcav: Any = TCAV(model, ["1"], classifier=Ridge(), save_path=str(tmp_path))
    found = tcav.interpret(x, [concepts], target=1)["0-1"]["1"]
    assert float(found["sign_count"][0]) == pytest.approx(float((mine.slopes > 0).double().mean()))


def test_concepts_without_meaning_are_as_often_significant_as_they_may_be() -> None:
    """Random sets stand in for concepts, in a world of independent features."""
    stream = np.random.default_rng(1)
    rows, gradients = torch.tensor(stream.normal(size=(120, 6))), torch.tensor(stream.normal(size=(20, 6)))
    gradients += gradients[0].clone()
    ps: list[float] = []
    for _ in range(40):
        fits = [
            weighed(
                rows @ rows.T,
                gradients @ rows.T,
                gradients.norm(dim=1),
                concept=None,
                others=np.arange(120),
                size=12,
                fits=1,
                stream=stream,
            )
            for _ in range(11)
        ]
        line: Any = type("Line", (), {"ours": fits[0], "randoms": tuple(fits[1:]), "groups": (torch.arange(20),)})
        ps.append(cell(line, 0).p)
    # 2 of 40 are right; 8 or more come about once in a thousand times.
    assert sum(p < 0.05 for p in ps) < 8
    assert sum(p < 0.5 for p in ps) > 10


def test_holm_of_three_by_hand() -> None:
    found = holm({("a", 0): 0.01, ("b", 0): 0.04, ("c", 0): 0.03})
    assert [found[key, 0] for key in "acb"] == pytest.approx([0.03, 0.06, 0.06])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("stripes", "none of"),
        ("label:", "none of"),
        ("folder:not/there", "not there"),
        ("rows:pyproject.toml", "none of .npy, .txt"),
        ("folder:pyproject.toml", "no folder"),
    ],
)
def test_words_that_name_no_set_are_refused_with_an_override(words: str, said: str) -> None:
    (problem,) = complaints([words, "label:1"], option="interpretability.concepts.sets")
    assert said in problem.message
    assert problem.fix == "interpretability.concepts.sets=[label:1]"
    (twice,) = complaints(["label:1", "label:1"], option="x")
    assert "twice" in twice.message


@pytest.mark.parametrize(
    ("words", "right"),
    [
        ("label:yes", lambda row, label: label == 1),
        ("label:0", lambda row, label: label == 0),
        ("column:<b>λ</b> > 0.5", lambda row, label: row[2] > 0.5),
        ("column:age<-1", lambda row, label: row[5] < -1),
    ],
)
def test_rows_of_the_data_by_label_and_column(words: str, right: Any) -> None:
    data = parted(60)
    inputs, targets = (torch.cat(parts) for parts in zip(*data.val_dataloader(), strict=True))
    found = inside(frozen(linear(), data, adapter=NAMED), words, range(10, 60))
    assert found == [place for place in range(10, 60) if right(inputs[place], int(targets[place]))]
    upper = inside(frozen(linear(), data, adapter=NAMED), "column:size", range(60))
    assert upper is not None
    assert len(upper) == 15


@pytest.mark.parametrize(
    ("words", "said"), [("label:maybe", "the classes are no, yes"), ("column:height", "the columns are size")]
)
def test_what_the_data_does_not_know_is_said(words: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        inside(frozen(linear(), parted(40), adapter=NAMED), words, range(40))


def test_pictures_of_a_folder_become_a_batch(tmp_path: Path) -> None:
    from PIL import Image

    (tmp_path / "deep").mkdir()
    for value in (0, 255):
        Image.new("L", (8, 8), value).save(tmp_path / "deep" / f"{value}.png")
    data = Points(torch.rand(4, 1, 8, 8), torch.zeros(4).long())
    run = frozen(table_task(nn.Flatten()), data, adapter=IMAGES)
    inputs, labels = outside(run, f"folder:{tmp_path}", run.batch("val", [0]), most=10)
    assert inputs.amin(dim=(1, 2, 3)).tolist() == [0, 1]
    assert len(labels) == 2
    with pytest.raises(ValueError, match="no square pictures"):
        outside(frozen(linear(), parted(40)), f"folder:{tmp_path}", parted(40).val_dataloader().dataset[:1], most=1)


def reused() -> nn.Module:
    act = nn.Tanh()
    return nn.Sequential(nn.Linear(6, 6), act, nn.Linear(6, 6), act, nn.Linear(6, 2))


@pytest.mark.parametrize(
    ("make", "name", "said"),
    [
        (reused, "1", "called 2 times"),
        (lambda: nn.Sequential(nn.GRU(6, 4), nn.Flatten()), "0", "gives tuple"),
        (lambda: nn.Sequential(nn.Linear(6, 2)), "5", "no layer 'body.5'"),
    ],
)
def test_layers_that_one_cannot_speak_of_are_refused(make: Any, name: str, said: str) -> None:
    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = make()

        def forward(self, inputs: Tensor) -> Tensor:
            return self.body[0](inputs)[0] if isinstance(self.body[0], nn.GRU) else self.body(inputs)

    question = to_model(Last(), torch.randn(3, 6), decisions=torch.tensor([0, 1, 0]))
    with pytest.raises(ValueError, match=said):
        layer_of(question, f"body.{name}")
    (problem,) = no_such_layer(linear(), "model.9", option="x.layer")
    assert problem.fix == "x.layer=null"
    assert "did you mean model.1" in problem.message


def test_the_layers_that_one_may_name_are_no_metrics() -> None:
    task = linear()
    task.add_module("tally", MetricCollection([MeanMetric()]))
    (problem,) = no_such_layer(task, "tally", option="x.layer")
    assert problem.message.endswith("; its last ones are model, model.0, model.1")


def test_the_chosen_layer_is_one_that_all_of_the_score_goes_through() -> None:
    class Beside(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.other = nn.Linear(6, 4), nn.Linear(6, 4)
            self.act, self.last = nn.ReLU(), nn.Linear(4, 2)

        def forward(self, inputs: Tensor) -> Tensor:
            return self.last(self.act(self.one(inputs) + self.other(inputs)))

    assert chosen_layer(to_model(Beside(), torch.randn(3, 6))) == "act"
    with pytest.raises(ValueError, match="no layer below"):
        chosen_layer(to_model(nn.Sequential(nn.Linear(6, 2)), torch.randn(3, 6)))


@pytest.mark.parametrize("count", [5, 40])
def test_too_few_examples_are_skipped_with_the_reason(count: int) -> None:
    rows = [*small("label:yes", samples=4).measure(frozen(linear(), parted(count), adapter=NAMED))]
    assert {row.status for row in rows} == {Status.SKIPPED}
    assert "too few" in rows[0].note or "at least 10" in rows[0].note
