import math
import time
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from helpers.masks import TUNED
from helpers.victims import fitted, held, linear, mlp
from small_runs import IMAGES, TABLE, Points, bits, digits_task, flags, frozen, same_bits, streams, table_task
from steelyard.adapters import AudioAdapter, TokenScoring
from steelyard.adapters.scoring import ClassScoring
from steelyard.adapters.text import TextAdapter
from steelyard.measurement import Measurement, Picture, Sound, Status, Table
from steelyard.measuring import looking
from steelyard.runs import Run
from steelyard_stability import Adversarial
from steelyard_stability import _assault as assaulting
from steelyard_stability._adversarial import AdversarialAttachment
from steelyard_stability._assault import assault
from steelyard_stability.attacks import curve as searched
from steelyard_stability.attacks import scene

QUICK = Adversarial(radii=(0.02, 0.08), steps=8, queries=20, masking=False, max_seconds=None)


def told(run: Run, plugin: Adversarial = QUICK) -> list[Measurement]:
    with looking(run.task):
        return [row for row in AdversarialAttachment(plugin).measure(run) if isinstance(row, Measurement)]


def curve(rows: list[Measurement], name: str) -> dict[float, Measurement]:
    return {float(row.at["radius"]): row for row in rows if row.name == name}


def image_run(model: nn.Module | None = None, *, count: int = 60, **others: Any) -> Run:
    return frozen(digits_task(fitted(mlp) if model is None else model), Points(*held(count), batch_size=16), **others)


def test_the_curve_falls_and_every_number_names_its_threat() -> None:
    rows = told(image_run())

    flips, accuracy = curve(rows, "flips"), curve(rows, "robust_accuracy")
    assert [row.name for row in rows[:2]] == ["worst_flips", "flips"]
    assert rows[0].value == flips[0.08].value
    values = [row.value or 0.0 for row in flips.values()]
    assert 0 < values[0] < values[1]
    kept = [row.value or 0.0 for row in accuracy.values()]
    assert list(accuracy) == [0.0, 0.02, 0.08]
    assert kept[0] > kept[1] > kept[2]
    for row in rows:
        assert row.count == 60
        assert row.split == "test"
        assert row.interval is not None
        assert row.interval[0] <= (row.value or 0.0) <= row.interval[1]
        for words in ("linf", "pixel value", "clipped to 0..1", "8 steps", "20 questions", "knows the weights"):
            assert words in row.note
        assert row.meaning
        assert row.at_unit == ("pixel value" if row.at else "")


def test_where_nearly_all_fall_at_once_smaller_radii_are_named() -> None:
    few = replace(QUICK, attacks=("fgsm", "pgd"), radii=(0.5, 0.6))

    assert told(image_run(), few)[0].note.endswith("stability.adversarial.radii=[0.05,0.06] tells more")
    assert "tells more" not in told(image_run(), replace(few, radii=(0.01,)))[0].note


def test_a_linear_model_has_the_robust_accuracy_of_its_closed_form() -> None:
    model = fitted(linear)
    inputs, targets = held(80)
    layer = model[1]  # type: ignore[index]
    wide = replace(IMAGES, bounds=(-100.0, 100.0))
    run = frozen(digits_task(model), Points(inputs, targets, batch_size=32), adapter=wide)
    logits = model(inputs)
    own = logits.argmax(dim=1)
    apart = (layer.weight[own][:, None] - layer.weight[None]).abs().sum(dim=2)
    reach = torch.where(apart > 0, (logits.gather(1, own[:, None]) - logits) / apart, torch.inf).amin(dim=1)

    rows = told(run, replace(QUICK, steps=20, targets=9))

    for radius in QUICK.radii:
        assert curve(rows, "flips")[radius].value == pytest.approx(float((reach < radius).double().mean()))
        still = (reach >= radius) & (own == targets)
        assert curve(rows, "robust_accuracy")[radius].value == pytest.approx(float(still.double().mean()))


def test_without_a_raw_range_the_radius_counts_standard_deviations() -> None:
    inputs = torch.randn(200, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 100.0])
    model = nn.Linear(2, 2).requires_grad_(False)
    model.weight.copy_(torch.tensor([[0.0, 0.0], [1.0, 0.01]]))
    model.bias.zero_()
    run = frozen(table_task(model), Points(inputs, (inputs[:, 0] > 0).long()), adapter=TABLE)

    rows = told(run, replace(QUICK, radii=(0.5,)))

    scale = inputs.std(dim=0, correction=0)
    reach = (inputs[:, 0] + 0.01 * inputs[:, 1]).abs() / (scale[0] + 0.01 * scale[1])
    assert rows[0].value == pytest.approx(float((reach < 0.5).double().mean()), abs=0.006)
    assert "standard deviations" in rows[0].note
    assert {row.at_unit for row in rows if row.at} == {"standard deviations of each column value"}


class Words(nn.Module):
    """The mean of embeddings, or every one of them, through a layer."""

    def __init__(self, *, each: bool) -> None:
        super().__init__()
        self.embedding = nn.Embedding(12, 5)
        self.layer = nn.Linear(5, 12 if each else 3)
        self.each = each

    def forward(self, tokens: Tensor) -> Tensor:
        found = self.embedding(tokens)
        return self.layer(found if self.each else found.mean(dim=1))


@pytest.mark.parametrize("each", [False, True])
def test_texts_are_attacked_in_their_embeddings(each: bool) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, tokens = Words(each=each), torch.randint(0, 12, (30, 6))
    adapter = TextAdapter(
        scoring=TokenScoring() if each else ClassScoring(), bounds=None, tokens=0, labels=1, mask="none"
    )
    with torch.no_grad():
        targets = model(tokens).argmax(dim=-1)

    rows = told(frozen(table_task(model, classes=3), Points(tokens, targets), adapter=adapter))

    accuracy = curve(rows, "robust_accuracy")
    assert accuracy[0.0].value == 1
    assert (accuracy[0.08].value or 0.0) < 1
    assert 0 < (rows[0].value or 0.0) <= 1
    assert "embedding" in rows[0].note


def test_words_whose_embeddings_were_moved_farthest_are_named() -> None:
    model = Words(each=False)
    tokens = torch.tensor([[0, 1, 2]]).expand(30, 3)
    with torch.no_grad():
        for weight in model.parameters():
            weight.zero_()
        model.embedding.weight[:3, 0] = torch.tensor([-1.0, 0.0, 1.0])
        model.layer.weight[0, 0], model.layer.bias[1] = 1.0, 0.01
    names = ("no", "yes", "never")
    adapter = TextAdapter(
        scoring=ClassScoring(),
        bounds=None,
        tokens=0,
        labels=1,
        mask="none",
        names=names,
        spell=lambda numbers: ["" if number == 1 else f" word{number}" for number in numbers],
    )
    run = frozen(table_task(model, classes=3), Points(tokens, torch.ones(30).long()), adapter=adapter)

    with looking(run.task):
        items = [*AdversarialAttachment(replace(QUICK, radii=(0.5, 1.0))).measure(run)]

    (table,) = [item for item in items if isinstance(item, Table) and item.name == "worst"]
    assert not [item for item in items if isinstance(item, Picture) and item.name == "worst"]
    number, change, text, most, before, after, right = table.rows[0]
    assert (change, text, before, after, right) == ("linf 0.5", "word0 word2", "yes", "no", "yes")
    assert set(str(most).split(", ")) == {"word0", "word2"}
    assert number in range(30)


def test_whole_numbers_cannot_be_attacked() -> None:
    class Counts(nn.Module):
        def forward(self, given: Tensor) -> Tensor:
            return given.float()

    rows = told(
        frozen(table_task(Counts()), Points(torch.randint(0, 9, (20, 2)), torch.zeros(20).long()), adapter=TABLE)
    )

    assert {row.status for row in rows} == {Status.SKIPPED}
    assert "whole numbers" in rows[0].note


def test_the_batches_of_the_data_change_nothing() -> None:
    inputs, targets = held(60)
    model = fitted(mlp)
    found = [
        [row.value for row in told(frozen(digits_task(model), Points(inputs, targets, batch_size=size)), plugin)]
        for size, plugin in ((7, replace(QUICK, batch=5)), (60, QUICK))
    ]

    assert found[0] == found[1]


def test_the_time_limit_gives_an_interval_that_holds_both_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    deadline = time.monotonic() + 1000
    looks = iter([deadline - 1] * 12)
    monkeypatch.setattr(scene, "time", SimpleNamespace(monotonic=lambda: next(looks, deadline)))
    rows = told(image_run(deadline=deadline))
    flips = curve(rows, "flips")[0.08]
    accuracy = curve(rows, "robust_accuracy")[0.08]
    whole = told(image_run())

    assert "undecided when time was up" in flips.note
    assert flips.interval is not None
    assert flips.interval[1] == 1.0
    assert accuracy.interval is not None
    assert accuracy.interval[0] == 0.0
    for row in (flips, accuracy):
        true = curve(whole, row.name)[0.08].value
        assert row.interval is not None
        assert row.interval[0] <= (true or 0.0) <= row.interval[1]


def test_a_few_examples_are_decided_before_the_next_are_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[Any] = []

    def noted(*given: Any) -> Any:
        begun.append(len(given[0].centre))
        return searched(*given)

    monkeypatch.setattr(assaulting, "_seconds", lambda *given: 1.0)
    monkeypatch.setattr(assaulting, "curve", noted)
    monkeypatch.setattr(assaulting, "time", SimpleNamespace(monotonic=lambda: 0.0 if len(begun) < 2 else 200.0))
    monkeypatch.setattr(scene, "time", SimpleNamespace(monotonic=lambda: 0.0))

    run = image_run()
    with looking(run.task):
        found = assault(run, QUICK, until=100.0)

    assert begun == [assaulting.FEW] * 2
    assert bool(found.finished.all())
    assert (len(found.clean), found.wanted) == (2 * assaulting.FEW, 60)


def test_where_nothing_was_decided_in_time_there_is_no_number() -> None:
    rows = told(image_run(deadline=time.monotonic()))

    unknown = [row for row in rows if "flips" in row.name or row.at.get("radius", 0)]
    assert {row.name for row in unknown} == {"worst_flips", "flips", "robust_accuracy"}
    assert {(row.status, row.value) for row in unknown} == {(Status.SKIPPED, None)}
    assert all("stability.adversarial.max_seconds" in row.note for row in unknown)


def test_a_model_that_answers_by_chance_is_invalid() -> None:
    class Blurred(nn.Module):
        def forward(self, given: Tensor) -> Tensor:
            return given.flatten(start_dim=1)[:, :10] + torch.randn(len(given), 10)

    rows = told(image_run(Blurred()))

    assert {row.status for row in rows} == {Status.INVALID}
    assert "not deterministic" in rows[0].note


def test_measuring_leaves_no_trace() -> None:
    run = image_run(count=20)
    before, state, random_streams = bits(run.task), flags(run.task), streams()

    told(run)

    assert same_bits(bits(run.task), before)
    assert flags(run.task) == state
    assert streams() == random_streams


def test_the_table_says_which_attack_did_it() -> None:
    run = image_run()
    items = list(AdversarialAttachment(QUICK).measure(run))
    table = next(item for item in items if isinstance(item, Table))
    flips = curve([item for item in items if isinstance(item, Measurement)], "flips")

    assert table.columns == ["radius", *QUICK.attacks]
    total = 0.0
    for row in table.rows:
        total += sum(float(cell or 0) for cell in row[1:])
        assert total == math.ceil(60 * (flips[float(row[0] or 0)].value or 0.0) - 1e-9)


@pytest.mark.parametrize("radii", [(), (0.0, 0.1), (0.1, 0.05), (0.1, 0.1)])
def test_radii_that_do_not_rise_are_a_problem(radii: tuple[float, ...]) -> None:
    problems = list(Adversarial(radii=radii).preflight(None))  # type: ignore[arg-type]  # the draft is not read

    assert len(problems) == 1
    assert problems[0].fix == "stability.adversarial.radii=[0.01,0.02,0.03,0.05,0.1]"
    assert not list(Adversarial().preflight(None))  # type: ignore[arg-type]


def test_an_attack_named_twice_is_a_problem() -> None:
    for attacks in ((), ("pgd", "pgd")):
        (problem,) = Adversarial(attacks=attacks).preflight(None)  # type: ignore[arg-type]
        assert problem.fix.startswith("stability.adversarial.attacks=")


def test_a_model_that_hides_its_gradient_is_invalid_and_an_honest_one_is_not() -> None:
    plugin = replace(QUICK, masking=True, radii=(0.02, 0.1))

    for name in ("no gradient", "turned round"):
        rows = told(image_run(TUNED[name](fitted(mlp))), plugin)
        numbers = [row for row in rows if row.name != "masking_flags"]
        assert {row.status for row in numbers} == {Status.INVALID}
        assert "binarisation" in numbers[0].note
    rows = told(image_run(), plugin)
    assert {row.status for row in rows} == {Status.MEASURED}
    assert rows[-1].value == 0


def shown(run: Run, plugin: Adversarial = QUICK) -> tuple[dict[str, Picture], list[Sound]]:
    with looking(run.task):
        items = [*AdversarialAttachment(plugin).measure(run)]
    return {item.name: item for item in items if isinstance(item, Picture)}, [
        item for item in items if isinstance(item, Sound)
    ]


def test_what_fell_first_is_shown_beside_the_clean_one() -> None:
    pictures, sounds = shown(image_run())

    assert set(pictures) == {"worst"}
    assert not sounds
    examples = pictures["worst"].alt.split("; ")
    assert len(examples) == 4
    for words in examples:
        assert "linf 0.02: " in words
        before, after = words.rpartition(": ")[2].split(" becomes ")
        assert before != after


def test_what_fell_first_is_a_proof() -> None:
    run = image_run()
    with looking(run.task):
        found = assault(run, QUICK, until=None)

    assert len(found.worst) == 4
    for one in found.worst:
        clean = run.batch("test", [one.number])[0]
        change = (one.inputs - clean[0]).abs().max()
        assert 0 < float(change) <= one.radius
        with torch.no_grad():
            assert int(run.task(clean).argmax()) != int(run.task(one.inputs[None]).argmax())


def test_sounds_are_heard_clean_and_then_attacked() -> None:
    sounds = torch.rand(20, 64, generator=torch.Generator().manual_seed(0)) - 0.5
    model = nn.Linear(64, 2).requires_grad_(False)
    adapter = AudioAdapter(scoring=ClassScoring(), bounds=(-1.0, 1.0))
    run = frozen(table_task(model), Points(sounds, torch.arange(20) % 2), adapter=adapter)

    pictures, heard = shown(run)

    assert "worst" in pictures
    assert [item.name for item in heard] == ["worst_1", "worst_2", "worst_3"]
    assert heard[0].wav.startswith(b"RIFF")
    assert "clean, then after linf 0." in heard[0].title
