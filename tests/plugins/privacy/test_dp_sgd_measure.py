"""What a private run says of itself."""

from pathlib import Path

import pytest
import torch

from private_runs import Task, data, fit
from steelyard.adapters import ClassScoring
from steelyard.adapters.table import TableAdapter
from steelyard.measurement import Measurement, Picture, Status
from steelyard.runs import Run
from steelyard_privacy import _dp_sgd
from steelyard_privacy._accounting import accountant
from steelyard_privacy._dp_sgd import PrivateTraining
from steelyard_privacy._noise_test import NoiseTest
from steelyard_privacy._tally import KEPT, Tally
from steelyard_privacy.dp_sgd import DPSGD


def said(attachment: PrivateTraining, *, trained: bool = True) -> dict[str, Measurement]:
    run = Run(
        task=Task(),
        data=data(),
        adapter=TableAdapter(scoring=ClassScoring(), bounds=None),
        seed=0,
        device=torch.device("cpu"),
        trained=trained,
        folder=Path(),
    )
    items = list(attachment.measure(run))
    assert sum(isinstance(item, Picture) for item in items) == (1 if trained or len(items) > 4 else 0)
    return {item.name: item for item in items if isinstance(item, Measurement) and not item.at}


def test_the_promise_names_everything_that_it_rests_on() -> None:
    fitted = fit(DPSGD(target_epsilon=4.0), Task(), data(64, batch_size=16), max_epochs=3)
    found = said(fitted.attachment)
    epsilon = found["epsilon"]
    assert epsilon.status is Status.MEASURED
    assert epsilon.value == pytest.approx(4.0, rel=1e-3)
    assert epsilon.value <= 4.0
    for word in (
        "delta=1e-05",
        "noise multiplier",
        "rate 0.25",
        "12 steps",
        accountant(),
        "Poisson",
        "adding or removing",
    ):
        assert word in epsilon.note
    assert accountant() in epsilon.note
    assert found["steps"].value == 12
    assert found["delta"].value == 1e-5
    assert found["clipped_fraction"].split == "train"
    assert "engine=hooks" in found["clipped_fraction"].note
    assert 0 <= found["clipped_fraction"].value <= 1
    assert [name for name, row in found.items() if not row.meaning] == []


def test_the_curve_ends_at_the_promise() -> None:
    fitted = fit(DPSGD(), Task(), data(64, batch_size=4), max_epochs=3)
    run = said(fitted.attachment)
    points = [
        item
        for item in fitted.attachment.measure(Run(**{**vars_of_run(), "trained": True}))
        if isinstance(item, Measurement) and item.at
    ]
    assert len(points) == 10
    assert points[-1].value == run["epsilon"].value
    assert [point.value for point in points] == sorted(point.value for point in points)


def vars_of_run() -> dict[str, object]:
    return {
        "task": Task(),
        "data": data(),
        "adapter": TableAdapter(scoring=ClassScoring(), bounds=None),
        "seed": 0,
        "device": torch.device("cpu"),
        "folder": Path(),
    }


def test_without_training_nothing_is_promised() -> None:
    from private_runs import make_draft

    attachment = _dp_sgd.attach(DPSGD(), make_draft(Task(), data(), max_epochs=1))
    assert {item.status for item in said(attachment, trained=False).values()} == {Status.SKIPPED}
    attachment.load_state_dict({"steps": 100, "rate": 0.1, "noise_multiplier": 1.0, "delta": 1e-6, "population": 64})
    found = said(attachment, trained=False)
    assert found["epsilon"].value > 5
    assert found["clipped_fraction"].status is Status.SKIPPED


@pytest.mark.parametrize("factor", [0.0, 0.5, 1 / 16, 1.1])
def test_noise_of_the_wrong_size_makes_the_promise_invalid(monkeypatch: pytest.MonkeyPatch, factor: float) -> None:
    right = _dp_sgd.privatised

    def wrong(total: torch.Tensor, *, noise_multiplier: float, **others: object) -> torch.Tensor:
        return right(total, noise_multiplier=factor * noise_multiplier, **others)

    monkeypatch.setattr(_dp_sgd, "privatised", wrong)
    fitted = fit(DPSGD(noise_seed=0), Task(), data(64, batch_size=4), max_epochs=3)
    epsilon = said(fitted.attachment)["epsilon"]
    assert epsilon.status is Status.INVALID
    assert "noise" in epsilon.note


def test_the_noise_test_accuses_no_correct_noise() -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(300):
        test = NoiseTest()
        test.add(2.0 * torch.randn(50, generator=generator), scale=2.0)
        assert not test.failed()


def test_gradients_longer_than_the_norm_of_their_own_step_are_counted() -> None:
    tally = Tally()
    for step in range(3 * KEPT):
        tally.add(torch.tensor([0.5, 1.0, 1.5, torch.nan]), max_norm=1.0 if step % 100 else 2.0)
    tally.add(torch.empty(0), max_norm=1.0)
    assert tally.seen == 4 * 3 * KEPT
    assert tally.clipped == 2 * 3 * KEPT - 2
    assert tally.clipped == 2 * 3 * KEPT - 2
