import pytest
import torch

from helpers import tiny
from helpers.plugins import Fake
from steelyard import planning
from steelyard.estimating.forecasting import count_epoch, count_steps, validates_each_epoch
from steelyard.estimating.settings import Planning
from steelyard.problem import Problem, Refused
from steelyard.selection import Selected


def plan(monkeypatch: pytest.MonkeyPatch, *selected: Selected, **changes: object) -> planning.PlanReport:
    monkeypatch.setattr(planning, "plugins_of", lambda _: selected)
    return planning.plan(tiny.config(**changes), choices=tiny.CHOICES, overrides=[])


def test_the_figures_of_the_mlp_are_those_on_paper(monkeypatch: pytest.MonkeyPatch) -> None:
    report = plan(monkeypatch, data={"limit": None, "batch_size": 64}, trainer={"max_epochs": 7})
    assert report.parameters == report.trainable == 64 * 128 + 128 + 128 * 10 + 10
    # Forward: two products. Backward: the weights of both, the input of the second.
    assert report.flops_per_step == 2 * 64 * (64 * 128 + 128 * 10 + 64 * 128 + 2 * 128 * 10)
    assert report.steps == 7 * 17
    assert "9,610 (9,610 trainable)" in report.text()


@pytest.mark.parametrize(
    ("trainer", "steps"),
    [
        ({"max_epochs": 2}, 6),
        ({"max_epochs": 2, "max_steps": 5}, 5),
        ({"max_epochs": -1, "max_steps": 5}, 5),
        ({"max_epochs": -1}, None),
        ({"max_epochs": 2, "limit_train_batches": 2}, 4),
        ({"max_epochs": 2, "limit_train_batches": 0.5}, 2),
        ({"max_epochs": 2, "accumulate_grad_batches": 2}, 4),
    ],
)
def test_steps(trainer: dict[str, object], steps: int | None) -> None:
    assert count_steps(tiny.draft(trainer=trainer)) == steps


def test_an_epoch_has_as_many_steps_however_many_are_to_be_taken() -> None:
    assert count_epoch(tiny.draft(trainer={"max_steps": 1})) == 3
    assert count_epoch(tiny.draft(trainer={"accumulate_grad_batches": 2})) == 2
    assert count_epoch(tiny.draft(), loader=range(7)) == 7


@pytest.mark.parametrize(
    ("trainer", "each"),
    [
        ({}, True),
        ({"limit_val_batches": 1}, True),
        ({"limit_val_batches": 0}, False),
        ({"check_val_every_n_epoch": 2}, False),
        ({"val_check_interval": 0.5}, False),
    ],
)
def test_whether_each_epoch_ends_with_a_validation(trainer: dict[str, object], each: bool) -> None:
    assert validates_each_epoch(tiny.draft(trainer=trainer)) is each


def test_no_weight_is_allocated(monkeypatch: pytest.MonkeyPatch) -> None:
    # Forty billion weights: they fit nowhere here.
    report = plan(monkeypatch, model={"hidden": [200_000, 200_000]})
    assert report.parameters > 4e10


def test_plan_refuses_what_a_run_would_refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Refused, match="no"):
        plan(monkeypatch, Selected("a.x", Fake(problems=(Problem("no", "x=1"),))))


@pytest.mark.parametrize(
    ("accelerator", "machine", "here", "said"),
    [
        ("gpu", None, 0, True),
        ("cuda", None, 0, True),
        ("gpu", "h100", 0, False),
        ("gpu", None, 1, False),
        ("auto", None, 0, False),
        ("cpu", None, 0, False),
    ],
)
def test_a_gpu_that_is_not_here_is_missed(
    monkeypatch: pytest.MonkeyPatch, accelerator: str, machine: str | None, here: int, said: bool
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: here)
    monkeypatch.setattr(planning, "plugins_of", lambda _: ())
    report = planning.plan(
        tiny.config(trainer={"accelerator": accelerator}),
        choices=tiny.CHOICES,
        overrides=[],
        settings=Planning(machine=machine),
    )
    assert ("plan.machine=h100" in report.text()) == said


def test_plugins_see_a_draft_on_the_meta_device(monkeypatch: pytest.MonkeyPatch) -> None:
    class Looks(Fake):
        def preflight(self, draft: planning.Draft) -> object:
            assert all(weight.is_meta for weight in draft.task.parameters())
            yield Problem("looked", level="note")

    assert plan(monkeypatch, Selected("a.x", Looks())).notes == ("looked",)
    assert torch.zeros(1).device.type == "cpu"
