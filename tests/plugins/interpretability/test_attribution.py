import random
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from small_runs import TABLE, Points, bits, digits, digits_task, flags, frozen, same_bits, streams, table_task, train
from steelyard.measurement import Measurement, Picture, Status, Table
from steelyard.runs import Predictions, Run
from steelyard_interpretability import Attribution
from steelyard_interpretability._attribution import AttributionAttachment
from steelyard_interpretability._choosing import KINDS, chosen
from steelyard_interpretability._explain import study
from steelyard_interpretability._randomize import reinitialised
from steelyard_interpretability._safe import explaining
from steelyard_interpretability._samples import collect, evenly_spaced

SMALL = Attribution(samples=40, pictures=3, random_orders=4)


def told(run: Run, plugin: Attribution = SMALL) -> dict[str, Measurement]:
    items = list(AttributionAttachment(plugin).measure(run))
    return {item.name: item for item in items if isinstance(item, Measurement) and not item.at}


@pytest.fixture(scope="module")
def digits_run() -> Run:
    data = digits()
    return frozen(train(digits_task, data, epochs=12), data)


@pytest.fixture(scope="module")
def rows(digits_run: Run) -> dict[str, Measurement]:
    return told(digits_run)


def test_a_trained_model_is_explained_faithfully(rows: dict[str, Measurement]) -> None:
    assert list(rows) == [
        "deletion_gap",
        "deletion_area",
        "weights_gap",
        "randomized_similarity",
        "randomized_similarity_absolute",
        "completeness_error",
        "converged",
    ]
    assert all(row.status is Status.MEASURED for row in rows.values())
    assert all(row.split == "val" and row.count == 40 for row in rows.values())
    gap = rows["deletion_gap"]
    assert gap.interval is not None
    assert gap.interval[0] > 0.3
    assert "max_" not in gap.note
    assert (rows["completeness_error"].value or 0) < 0.05
    assert rows["converged"].value == 1.0


def test_the_randomised_copy_loses_the_score(rows: dict[str, Measurement]) -> None:
    control = rows["weights_gap"]
    assert control.interval is not None
    assert control.interval[0] > 0.3
    assert abs(rows["randomized_similarity"].value or 0) < 0.2


def test_the_curve_holds_both_orders(digits_run: Run) -> None:
    curve = [row for row in AttributionAttachment(SMALL).measure(digits_run) if isinstance(row, Measurement) and row.at]

    for order in ("attribution", "random"):
        removed = [row.at["removed"] for row in curve if row.at["order"] == order]
        assert removed[0] == 0.0
        assert removed[-1] == 1.0
        assert len(removed) == 11
    ends = {(row.at["order"], row.at["removed"]): row.value for row in curve}
    for end in (0.0, 1.0):
        assert ends["attribution", end] == pytest.approx(ends["random", end])
    assert all(ends["attribution", row.at["removed"]] <= (row.value or 0) + 1e-6 for row in curve)


def test_the_picture_says_in_words_what_it_shows(digits_run: Run) -> None:
    pictures = [item for item in AttributionAttachment(SMALL).measure(digits_run) if isinstance(item, Picture)]

    assert len(pictures) == 1
    assert pictures[0].png.startswith(b"\x89PNG")
    assert pictures[0].alt.count("Example") == 3
    assert "truth" in pictures[0].alt
    assert pictures[0].split == "val"
    assert not any(
        isinstance(item, Picture) for item in AttributionAttachment(replace(SMALL, pictures=0)).measure(digits_run)
    )


def test_the_same_seed_says_the_same(digits_run: Run, rows: dict[str, Measurement]) -> None:
    assert told(digits_run) == rows


def test_an_untrained_model_has_nothing_to_lose(rows: dict[str, Measurement]) -> None:
    torch.manual_seed(1)
    untrained = told(frozen(digits_task(), digits()))

    assert (untrained["deletion_gap"].value or 0) < 0.2 * (rows["deletion_gap"].value or 0)


def test_a_constant_model_is_invalid() -> None:
    class Constant(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.tensor([0.0, 1.0]))

        def forward(self, inputs: Tensor) -> Tensor:
            return self.weight + 0 * inputs[:, :1]

    found = told(frozen(table_task(Constant()), table(), adapter=TABLE))

    assert found["deletion_gap"].status is Status.INVALID
    assert "re-initialised copy do as well" in found["deletion_gap"].note
    assert found["randomized_similarity"].status is Status.SKIPPED
    assert found["converged"].value == 1.0


def test_a_model_whose_weights_say_nothing_is_invalid() -> None:
    class Brightest(nn.Module):
        """Decides by the data alone; the weights that it has do not matter."""

        def __init__(self) -> None:
            super().__init__()
            self.unused = nn.Linear(6, 2)

        def forward(self, inputs: Tensor) -> Tensor:
            return torch.stack([inputs[:, :3].sum(dim=1), inputs[:, 3:].sum(dim=1)], dim=1)

    found = told(frozen(table_task(Brightest()), table(), adapter=TABLE))

    assert found["deletion_gap"].value is not None
    assert found["deletion_gap"].value > 0.05
    assert found["deletion_gap"].status is Status.INVALID
    assert found["randomized_similarity"].value == pytest.approx(1.0)


def table(count: int = 200) -> Points:
    inputs = torch.randn(count, 6, generator=torch.Generator().manual_seed(0))
    return Points(inputs, (inputs @ torch.tensor([3.0, -2.0, 1.0, 0.0, 0.0, 0.0]) > 0).long())


def test_a_linear_model_is_explained_in_closed_form() -> None:
    model = nn.Linear(6, 2)
    run = frozen(table_task(model), table(), adapter=TABLE)

    for baseline in ("mean", "zero"):
        found = study(run, replace(SMALL, baseline=baseline))
        inputs = found.samples.inputs
        base = torch.cat([batch for batch, _ in run.loader("val")]).mean(dim=0) if baseline == "mean" else 0.0
        expected = model.weight[model(inputs).argmax(dim=1)] * (inputs - base)
        assert torch.allclose(found.maps["integrated_gradients"].attributions, expected.detach(), rtol=0, atol=1e-6)


def test_a_planted_feature_is_found() -> None:
    data = table(1000)
    run = frozen(train(lambda: table_task(nn.Linear(6, 2)), data, epochs=10), data, adapter=TABLE)

    weight = study(run, SMALL).judged["integrated_gradients"].units.abs().mean(dim=0)

    assert weight.argsort(descending=True)[:3].tolist() == [0, 1, 2]


def test_examples_lie_evenly_in_the_split_whatever_the_model() -> None:
    assert evenly_spaced(100, count=4) == (12, 37, 62, 87)
    assert evenly_spaced(3, count=10) == (0, 1, 2)

    run = frozen(table_task(nn.Linear(6, 2)), table(), adapter=TABLE)
    samples = collect(run, count=5, baseline="zero")
    everything = torch.cat([batch for batch, _ in run.loader("val")])
    assert torch.equal(samples.inputs, everything[list(samples.numbers)])


def test_the_deadline_shortens_and_says_so(digits_run: Run) -> None:
    found = told(replace(digits_run, deadline=time.monotonic()))

    assert found["deletion_gap"].count == 2
    words = "the deadline left time for 0.125 of the steps and draws and 2 of 40 examples"
    assert words in found["deletion_gap"].note


def test_outputs_that_are_not_finite_are_an_error() -> None:
    task = table_task(nn.Linear(6, 2))
    with torch.no_grad():
        task.model.weight.fill_(torch.nan)

    with pytest.raises(ValueError, match="not finite"):
        told(frozen(task, table(), adapter=TABLE))


class Everything(nn.Module):
    """BatchNorm, dropout, and a buffer that moves even in eval mode."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(), nn.Linear(8, 2))
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, inputs: Tensor) -> Tensor:
        self.calls += 1
        return self.layers(inputs)


class Stop(BaseException):
    pass


@pytest.mark.parametrize("error", [None, RuntimeError, Stop])
def test_the_context_leaves_no_trace(error: type[BaseException] | None) -> None:
    task = table_task(Everything())
    task.model.layers[0].weight.requires_grad_(False)
    task.model.layers[3].eval()
    task.model.layers[4].weight.grad = torch.ones(2, 8)
    before, state, random_streams = bits(task), flags(task), streams()

    def inside() -> None:
        with torch.inference_mode(), explaining(task):
            assert not any(module.training for module in task.modules())
            inputs = torch.randn(4, 6, requires_grad=True)
            torch.autograd.grad(task(inputs).sum(), inputs)
            np.random.rand()
            random.random()
            if error is not None:
                raise error

    if error is None:
        inside()
    else:
        with pytest.raises(error):
            inside()

    assert same_bits(bits(task), before)
    assert flags(task) == state
    assert streams() == random_streams
    assert torch.equal(task.model.layers[4].weight.grad, torch.ones(2, 8))


def test_measuring_leaves_no_trace(digits_run: Run) -> None:
    digits_run.task.train()
    before, state, random_streams = bits(digits_run.task), flags(digits_run.task), streams()

    with torch.inference_mode():
        told(digits_run)

    assert same_bits(bits(digits_run.task), before)
    assert flags(digits_run.task) == state
    assert streams() == random_streams


def test_training_is_bit_identical_with_and_without_it() -> None:
    data = digits()
    with_it = train(digits_task, data, callbacks=[AttributionAttachment(SMALL)])
    with_streams = streams()
    without = train(digits_task, data)

    assert same_bits(bits(with_it), bits(without))
    assert with_streams == streams()


def test_the_copy_has_learnt_nothing_and_the_original_is_untouched() -> None:
    class Scaled(nn.Module):
        """Holds weights that no layer knows how to begin."""

        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(6, 5)
            self.table = nn.Parameter(torch.arange(10.0).reshape(5, 2))

        def forward(self, inputs: Tensor) -> Tensor:
            return self.inner(inputs) @ self.table

    task: Any = table_task(Scaled())
    before = bits(task)
    with explaining(task):
        twin: Any = reinitialised(task, seed=0)

    assert same_bits(bits(task), before)
    assert not torch.allclose(twin.model.inner.weight, task.model.inner.weight)
    assert not torch.equal(twin.model.table, task.model.table)
    assert torch.equal(twin.model.table.flatten().sort().values, task.model.table.flatten())


def test_the_copy_does_not_go_back_to_where_training_began() -> None:
    torch.manual_seed(5)
    task: Any = digits_task()

    with explaining(task):
        twin: Any = reinitialised(task, seed=5)

    ours, theirs = (some.model.layers[2].weight.detach().flatten() for some in (task, twin))
    assert not torch.equal(ours.sort().values, theirs.sort().values)
    assert abs(float(torch.corrcoef(torch.stack([ours, theirs]))[0, 1])) < 0.1


MANY = replace(SMALL, samples=8, random_orders=2, methods=("integrated_gradients", "deep_lift", "grad_cam", "saliency"))


@pytest.fixture(scope="module")
def many(digits_run: Run) -> list[Measurement | Picture | Table]:
    found = AttributionAttachment(MANY).measure(digits_run)
    return [item for item in found if isinstance(item, Measurement | Picture | Table)]


def test_every_method_has_its_row_and_a_refused_one_says_why(many: list[Any]) -> None:
    rows = [item for item in many if isinstance(item, Measurement) and [*item.at] == ["method"]]
    gaps = {row.at["method"]: row for row in rows if row.name == "deletion_gap"}
    assert [*gaps] == ["integrated_gradients", "deep_lift", "saliency", "grad_cam"]
    assert gaps["grad_cam"].status is Status.SKIPPED
    assert "grad_cam is refused: the model has no convolution" in gaps["grad_cam"].note
    assert {row.at["method"] for row in rows if row.name == "converged"} == {"integrated_gradients", "deep_lift"}
    (table,) = [item for item in many if isinstance(item, Table) and item.name == "methods"]
    assert [*table.columns] == ["measure", *(str(name).replace("_", " ") for name in gaps)]
    at = {line[0]: dict(zip(gaps, line[1:], strict=True)) for line in table.rows}
    assert at["deletion gap"]["saliency"] is not None
    assert at["deletion gap"]["grad_cam"] is None
    assert "no convolution" in str(at["refused because, or what to keep in mind"]["grad_cam"])
    curves = {row.at["order"] for row in many if isinstance(row, Measurement) and row.name == "deletion"}
    assert curves == {"integrated_gradients", "deep_lift", "saliency", "random"}


def test_a_methods_numbers_do_not_depend_on_those_beside_it(digits_run: Run, many: list[Any]) -> None:
    alone = told(digits_run, replace(MANY, methods=("saliency",)))
    rows = [item for item in many if isinstance(item, Measurement) and item.at == {"method": "saliency"}]
    assert {row.name: row.value for row in rows} == {name: row.value for name, row in alone.items()}


def test_the_picture_names_its_methods_and_why_each_example_is_there(many: list[Any]) -> None:
    (picture,) = [item for item in many if isinstance(item, Picture)]
    assert "by integrated gradients, deep lift, saliency." in picture.alt
    assert [picture.alt.count(why) for why in ("smallest loss", "largest loss", "least certain")] == [1, 1, 1]
    assert "shares" in picture.title


def test_examples_are_drawn_by_what_the_model_makes_of_them() -> None:
    losses = torch.tensor([0.3, 0.1, 2.0, torch.nan, 0.2])
    whole = torch.zeros(5, dtype=torch.long)
    chances = torch.tensor([0.7, 0.9, 0.95, 0.2, 0.3])
    found = Predictions(targets=whole, decisions=whole, marks=whole, probabilities=chances, losses=losses)
    kinds, places = chosen(found, kinds=("best", "worst", "uncertain"), count=4, seed=0)
    assert (kinds, places) == (("best", "best", "worst", "uncertain"), (1, 4, 2, 3))
    assert chosen(found, kinds=KINDS, count=9, seed=0) == chosen(found, kinds=KINDS, count=9, seed=0)
    assert {*chosen(found, kinds=KINDS, count=9, seed=0)[1]} == {*range(5)}
    drawn = {chosen(found, kinds=("random",), count=1, seed=seed)[1] for seed in range(20)}
    assert len(drawn) > 2


@pytest.mark.parametrize(
    ("plugin", "words"),
    [
        (Attribution(methods=("magic",)), "no method 'magic'"),
        (Attribution(methods=()), "no method of explanation"),
        (Attribution(methods=("saliency", "saliency")), "chosen twice"),
        (Attribution(shown=()), "no kind of example"),
    ],
)
def test_a_choice_that_means_nothing_is_refused_before_training(plugin: Attribution, words: str) -> None:
    draft: Any = None
    assert words in " ".join(problem.message for problem in plugin.preflight(draft))
