from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from small_runs import TABLE, Points, bits, digits, digits_task, flags, frozen, same_bits, streams, table_task, train
from steelyard.measurement import Measurement, Picture, Status
from steelyard.panel import Mark
from steelyard.runs import Run
from steelyard_interpretability import Faithfulness
from steelyard_interpretability._faithfulness import FaithfulnessAttachment
from steelyard_interpretability._numbers import numbers
from steelyard_interpretability._panel import panel
from steelyard_interpretability._randomize import cascade
from steelyard_interpretability._trials import tried
from steelyard_interpretability._verdicts import Verdict, verdict
from steelyard_interpretability.measures.lines import blurred_noise, edges
from steelyard_interpretability.methods.question import Question

SMALL = Faithfulness(samples=16, pictures=2, random_orders=4, neighbours=1)
METRICS = {
    "deletion_gap",
    "insertion_gap",
    "noise_gap",
    "edge_gap",
    "oracle_gap",
    "weights_gap",
    "comprehensiveness",
    "sufficiency",
    "infidelity",
    "max_sensitivity",
    "sparseness",
    "class_contrast",
    "completeness_error",
}


def posing(find: Callable[[Question], Tensor]) -> Callable[[Question], Tensor]:
    """A map of units that poses as a method of explanation."""
    return lambda question: find(question)[:, question.units]


def other_noise(question: Question) -> Tensor:
    """Blurred noise that is drawn anew at every call, so that no comparison of maps can unmask it."""
    return blurred_noise(replace(question, seed=int(torch.randint(2**30, ()))))


@pytest.fixture(scope="module")
def digits_run() -> Run:
    data = digits()
    return frozen(train(digits_task, data, epochs=12), data)


@pytest.fixture(scope="module")
def rows(digits_run: Run) -> list[Measurement]:
    return [item for item in FaithfulnessAttachment(SMALL).measure(digits_run) if isinstance(item, Measurement)]


def judged(run: Run, **methods: Callable[[Question], Tensor]) -> dict[str, Verdict]:
    found = tried(run, SMALL, methods)
    return {name: verdict(found, trial) for name, trial in found.trials.items()}


def test_every_method_gets_every_number_with_interval_count_and_meaning(rows: list[Measurement]) -> None:
    for method in SMALL.methods:
        found = {row.name: row for row in rows if row.at == {"method": method}}
        assert {*found} == METRICS
        assert all(row.status is Status.MEASURED and row.interval and row.count for row in found.values())
        assert all(row.meaning and row.note and row.split == "val" for row in found.values())
        assert (found["deletion_gap"].value or 0) > 0.3
        assert (found["weights_gap"].value or 0) > 0.3
    trusted = next(row for row in rows if row.name == "trusted")
    assert trusted.value == 1.0
    assert trusted.count == len(SMALL.methods)


def test_the_curves_hold_every_control(rows: list[Measurement]) -> None:
    for metric, moved in (("deletion", "removed"), ("insertion", "put_back")):
        curves = [row for row in rows if row.name == metric]
        orders = {row.at["order"] for row in curves}
        assert orders == {*SMALL.methods, "random order", "blurred noise", "edge detector", "best found"}
        ends = {round(row.value or 0, 4) for row in curves if row.at[moved] == 0.0}
        assert len(ends) == 1


def test_nothing_beats_the_best_order_found(rows: list[Measurement]) -> None:
    gaps = [row for row in rows if row.name == "oracle_gap"]
    assert all(row.value is not None and row.value >= 0 for row in gaps)


def test_the_layers_lose_their_weights_from_the_top_down(digits_run: Run) -> None:
    stages = [*cascade(digits_run.task, seed=0, stages=4)]
    names = [name for name, _ in digits_run.task.named_parameters()]

    changed = [
        [n for n, (_, p) in zip(names, stage.task.named_parameters(), strict=True) if not same(digits_run, n, p)]
        for stage in stages
    ]

    assert [stage.share for stage in stages] == [0.5, 1.0]
    assert changed == [names[2:], names]
    # No copy of a weight beside those that begin anew.
    held = {weight.data_ptr() for stage in stages for weight in stage.task.parameters()}
    assert len(held) == len(names) + 2


def same(run: Run, name: str, weight: Tensor) -> bool:
    return torch.equal(dict(run.task.named_parameters())[name], weight)


def test_impostors_are_failed(digits_run: Run) -> None:
    found = judged(
        digits_run,
        edges=posing(edges),
        noise=posing(blurred_noise),
        fresh_noise=posing(other_noise),
        constant=lambda question: torch.ones_like(question.inputs),
        inputs=lambda question: question.inputs,
    )

    assert not any(verdict.trusted for verdict in found.values())
    assert any("weights are lost" in words for words in found["edges"].failed)
    assert any("blurred noise" in words for words in found["fresh_noise"].failed)
    assert any("no order" in words for words in found["constant"].failed)


def test_an_impostors_numbers_are_invalid(digits_run: Run) -> None:
    trials = tried(digits_run, SMALL, {"edges": posing(edges)})

    said = [*numbers(trials, {"edges": verdict(trials, trials.trials["edges"])})]

    gap = next(row for row in said if row.name == "deletion_gap")
    assert gap.status is Status.INVALID
    assert "weights are lost" in gap.note
    assert next(row for row in said if row.name == "trusted").value == 0.0


def test_a_method_that_cannot_is_refused_with_its_reason(digits_run: Run) -> None:
    def broken(question: Question) -> Tensor:
        raise ValueError("this model has no convolution")

    trials = tried(digits_run, SMALL, {"broken": broken, "nan": lambda question: question.inputs * torch.nan})

    assert trials.refused == {"broken": "this model has no convolution", "nan": "its attributions are not finite"}
    said = [row for row in numbers(trials, {}) if row.status is Status.SKIPPED]
    assert [row.note for row in said] == ["this model has no convolution", "its attributions are not finite"]


def test_an_untrained_model_has_less_to_show(digits_run: Run) -> None:
    torch.manual_seed(1)
    untrained = tried(frozen(digits_task(), digits()), SMALL)
    trained = tried(digits_run, SMALL)

    for name in SMALL.methods:
        ours, theirs = (verdict(found, found.trials[name]).untaught.mean() for found in (trained, untrained))
        assert theirs < 0.2 * ours


def test_a_model_of_one_answer_has_no_other_decision_to_contrast() -> None:
    class Constant(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.tensor([0.0, 1.0]))

        def forward(self, inputs: Tensor) -> Tensor:
            return self.weight + 0 * inputs[:, :1]

    torch.manual_seed(0)
    data = Points(torch.randn(40, 6), torch.randint(2, (40,)))
    run = frozen(table_task(Constant()), data, adapter=TABLE)
    said = [*FaithfulnessAttachment(SMALL).measure(run)]
    rows = [row for row in said if isinstance(row, Measurement)]

    assert all(row.status is not Status.MEASURED for row in rows if row.at.get("method") and "lost" not in row.at)
    assert next(row for row in rows if row.name == "class_contrast").status is Status.SKIPPED


def test_the_run_stays_as_it_was(digits_run: Run) -> None:
    before = bits(digits_run.task), flags(digits_run.task), streams()

    list(FaithfulnessAttachment(SMALL).measure(digits_run))

    assert same_bits(before[0], bits(digits_run.task))
    assert (before[1], before[2]) == (flags(digits_run.task), streams())


def test_the_same_seed_says_the_same(digits_run: Run, rows: list[Measurement]) -> None:
    again = [item for item in FaithfulnessAttachment(SMALL).measure(digits_run) if isinstance(item, Measurement)]
    assert again == rows


def test_every_picture_has_its_trust_panel(digits_run: Run) -> None:
    pictures = [item for item in FaithfulnessAttachment(SMALL).measure(digits_run) if isinstance(item, Picture)]

    assert [item.name for item in pictures] == [f"trust_{name}" for name in SMALL.methods]
    for item in pictures:
        assert item.png.startswith(b"\x89PNG")
        assert item.alt.count("Example") == SMALL.pictures
        assert item.panel is not None
        assert item.panel.verdict.mark is Mark.GOOD
        assert len(item.panel.checks) == 8
        assert [len(chart.lines) for chart in item.panel.charts] == [5, 5]
        assert dict(item.panel.facts)["refused"] == "nothing"
        assert dict(item.panel.facts)["limits"] == "none was reached"


def test_the_panel_of_an_impostor_says_why_it_is_not_to_be_trusted(digits_run: Run) -> None:
    trials = tried(digits_run, SMALL, {"edges": posing(edges)})

    shown = panel(SMALL, trials, trials.trials["edges"], verdict(trials, trials.trials["edges"]))

    assert shown.verdict.mark is Mark.BAD
    assert "weights are lost" in shown.verdict.words
    assert next(check for check in shown.checks if check.name == "Changes with the weights?").mark is Mark.BAD
    assert next(check for check in shown.checks if check.name == "Agrees with others?").mark is Mark.OPEN


def test_a_method_that_nobody_knows_is_refused_before_training():
    (problem,) = Faithfulness(methods=("ablation", "guesswork")).preflight(None)
    assert "'guesswork'" in problem.message
    assert "grad_cam" in problem.message
    assert problem.fix == "interpretability.faithfulness.methods=[integrated_gradients]"
    assert not list(Faithfulness().preflight(None))
