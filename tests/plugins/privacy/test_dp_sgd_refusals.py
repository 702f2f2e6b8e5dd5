"""What DP-SGD refuses, where, and with which override."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, WeightedRandomSampler

from private_runs import CLASSES, FEATURES, Examples, Task, data, examples, fit, make_draft
from steelyard.preflight import preflight
from steelyard.problem import Problem, Refused
from steelyard.selection import Selected
from steelyard_privacy import _pld
from steelyard_privacy.dp_sgd import DPSGD


def problems(plugin: DPSGD, task: Task, module: Any = None, **trainer: Any) -> list[Problem]:
    draft = make_draft(task, data() if module is None else module, **{"max_epochs": 1, **trainer})
    return [problem for problem in plugin.preflight(draft) if problem.level == "error"]


class OwnBatchNorm(nn.BatchNorm2d):
    """A subclass."""


class Statistics(nn.Module):
    """A stranger's normalisation that no type gives away."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("running_mean", torch.zeros(3))


@pytest.mark.parametrize(
    "layer",
    [
        nn.BatchNorm1d(4),
        nn.BatchNorm2d(4, affine=False),
        nn.BatchNorm3d(4, track_running_stats=False),
        nn.SyncBatchNorm(4),
        OwnBatchNorm(4),
        nn.BatchNorm2d(4).requires_grad_(False).eval(),
        nn.LazyBatchNorm1d(),
        nn.InstanceNorm2d(4, track_running_stats=True),
        Statistics(),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_batch_norm_is_refused_with_its_place_and_a_fix(layer: nn.Module) -> None:
    model = nn.Sequential(nn.Linear(FEATURES, 4), nn.Sequential(nn.ReLU(), layer))
    found = problems(DPSGD(), Task(model))
    assert len(found) == 1
    assert "model.1.1" in found[0].message
    assert type(layer).__name__ in found[0].message
    assert "model.norm=group" in found[0].fix


def test_normalisation_that_looks_at_one_example_is_welcome() -> None:
    layers = [nn.GroupNorm(2, 4), nn.LayerNorm(4), nn.InstanceNorm2d(4), nn.InstanceNorm2d(4, affine=True)]
    assert problems(DPSGD(), Task(nn.Sequential(*layers))) == []


def test_all_batch_norms_are_named_at_once() -> None:
    model = nn.Sequential(nn.BatchNorm1d(FEATURES), nn.Linear(FEATURES, 4), nn.BatchNorm1d(4))
    assert len(problems(DPSGD(), Task(model))) == 2


def test_it_reads_a_module_without_weights() -> None:
    with torch.device("meta"):
        task = Task(nn.Sequential(nn.Linear(FEATURES, 4), nn.BatchNorm1d(4)))
    assert [problem.message.split()[0] for problem in problems(DPSGD(), task)] == ["model.1"]


class Late(Task):
    """Makes its layers in `configure_model`."""

    def __init__(self) -> None:
        super().__init__(nn.Identity())

    def configure_model(self) -> None:
        self.model = nn.Sequential(nn.Linear(FEATURES, 4), nn.BatchNorm1d(4), nn.Linear(4, CLASSES))


def test_batch_norm_made_late_is_refused_at_the_start_of_the_fit() -> None:
    with pytest.raises(Refused, match=r"model\.1 is BatchNorm1d"):
        fit(DPSGD(), Late(), data())


def test_preflight_can_be_run_again_with_the_wraps_on() -> None:
    from steelyard import assembly

    draft = make_draft(Task(), data(), max_epochs=1)
    selected = [Selected("privacy.dp_sgd", DPSGD())]
    assembly.attach(selected, draft)
    with assembly.wrapped(draft):
        notes = preflight(selected, draft)
    assert all(note.level == "note" for note in notes)


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Any:
        return iter(examples(8))


ROWS = examples(64)
LOADERS: dict[str, Callable[[], Any]] = {
    "IterableDataset": lambda: DataLoader(Stream(), batch_size=4),
    "WeightedRandomSampler": lambda: DataLoader(
        ROWS, batch_size=4, sampler=WeightedRandomSampler([1.0] * 64, num_samples=64)
    ),
    "BatchSampler": lambda: DataLoader(
        ROWS, batch_sampler=torch.utils.data.BatchSampler(torch.utils.data.SequentialSampler(ROWS), 4, False)
    ),
    "dict": lambda: {"a": DataLoader(ROWS), "b": DataLoader(ROWS)},
}


@pytest.mark.parametrize("kind", LOADERS)
def test_loaders_that_cannot_be_replaced_are_refused_with_the_alternative(kind: str) -> None:
    found = problems(DPSGD(), Task(), Examples(LOADERS[kind]))
    assert len(found) == 1
    assert kind in found[0].message
    assert found[0].fix


class Manual(Task):
    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False


class OwnBackward(Task):
    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        loss.backward()


class FromIterator(Task):
    def training_step(self, dataloader_iter: Any) -> Any:
        return next(dataloader_iter)


@pytest.mark.parametrize(
    ("task", "words"), [(Manual(), "manually"), (OwnBackward(), "backward"), (FromIterator(), "dataloader_iter")]
)
def test_tasks_whose_steps_cannot_be_counted_are_refused(task: Task, words: str) -> None:
    found = problems(DPSGD(), task)
    assert [words in problem.message for problem in found] == [True]


@pytest.mark.parametrize(
    ("trainer", "fix"),
    [
        ({"precision": "16-mixed"}, "trainer.precision=bf16-mixed"),
        ({"precision": 16}, "trainer.precision=bf16-mixed"),
        ({"num_nodes": 2}, "trainer.num_nodes=1"),
        ({"strategy": "fsdp2", "devices": 2}, "trainer.strategy=ddp"),
        ({"strategy": "deepspeed"}, "trainer.strategy=ddp"),
    ],
)
def test_arguments_of_the_trainer_that_break_it_are_refused(trainer: dict[str, Any], fix: str) -> None:
    found = problems(DPSGD(), Task(), **trainer)
    assert len(found) == 1
    assert fix in found[0].fix


@pytest.mark.parametrize(
    "trainer", [{"precision": "bf16-mixed"}, {"devices": 1}, {"devices": "auto"}, {"devices": 2}, {"strategy": "ddp"}]
)
def test_arguments_that_do_not_are_welcome(trainer: dict[str, Any]) -> None:
    assert problems(DPSGD(), Task(), **trainer) == []


@pytest.mark.parametrize(
    "trainer", [{"gradient_clip_val": 1.0}, {"accumulate_grad_batches": 2}, {"limit_train_batches": 3}]
)
def test_rival_arguments_are_refused_by_their_claims(trainer: dict[str, Any]) -> None:
    draft = make_draft(Task(), data(), max_epochs=1, **trainer)
    name = next(iter(trainer))
    with pytest.raises(Refused, match=f"trainer.{name}"):
        preflight([Selected("privacy.dp_sgd", DPSGD())], draft)


@pytest.mark.parametrize(
    ("plugin", "trainer", "words"),
    [
        (DPSGD(target_epsilon=None), {}, "neither target_epsilon nor noise_multiplier"),
        (DPSGD(target_epsilon=1e-4), {}, "epsilon 0.0001 cannot be reached"),
        (DPSGD(delta=0.1), {}, "not below 1/N"),
        (DPSGD(noise_multiplier=0.1), {}, "the first step alone costs"),
        (DPSGD(), {"max_epochs": -1}, "nothing limits the steps"),
        (DPSGD(), {"max_epochs": None, "max_time": "00:00:01:00"}, "nothing limits the steps"),
    ],
)
def test_promises_that_cannot_be_kept_are_refused(plugin: DPSGD, trainer: dict[str, Any], words: str) -> None:
    found = problems(plugin, Task(), **trainer)
    assert len(found) == 1
    assert words in found[0].message
    assert found[0].fix


def test_the_fix_of_an_unreachable_epsilon_works() -> None:
    found = problems(DPSGD(target_epsilon=1e-4), Task())
    reachable = float(found[0].fix.partition("=")[2])
    assert problems(DPSGD(target_epsilon=reachable), Task()) == []


def test_everything_is_found_at_once() -> None:
    model = nn.Sequential(nn.Linear(FEATURES, CLASSES), nn.BatchNorm1d(CLASSES))
    assert len(problems(DPSGD(delta=0.5), Task(model), precision="16-mixed", num_nodes=2)) == 4


def test_the_plan_is_told_as_a_note() -> None:
    draft = make_draft(Task(), data(64, batch_size=16), max_epochs=3)
    notes = [problem for problem in DPSGD(noise_seed=1).preflight(draft) if problem.level == "note"]
    assert "after 12 steps" in notes[0].message
    assert "16 of 64 examples a step" in notes[0].message
    assert "noise_seed" in notes[-1].message


def test_preflight_draws_nothing() -> None:
    task = Task()
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)

    def drawing() -> Any:
        torch.rand(5)
        return DataLoader(ROWS, batch_size=4, shuffle=True)

    assert problems(DPSGD(), task, Examples(drawing)) == []
    assert torch.equal(torch.rand(1), expected)


class TwoOptimizers(Task):
    def configure_optimizers(self) -> Any:
        return []


class Newton(Task):
    def configure_optimizers(self) -> Any:
        return torch.optim.LBFGS(self.parameters())


@pytest.mark.filterwarnings("ignore:`LightningModule.configure_optimizers` returned `None`")
@pytest.mark.parametrize(("task", "words"), [(TwoOptimizers(), "needs one optimizer"), (Newton(), "LBFGS")])
def test_optimizers_that_cannot_be_accounted_for_are_refused(task: Task, words: str) -> None:
    with pytest.raises(Refused, match=words):
        fit(DPSGD(), task, data())


@pytest.mark.parametrize("engine", ["auto", "microbatch"])
def test_running_statistics_in_any_guise_are_refused(engine: Any) -> None:
    class Centred(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(FEATURES, CLASSES)
            self.register_buffer("average", torch.zeros(CLASSES))
            self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

        def forward(self, inputs: Tensor) -> Tensor:
            logits = self.layer(inputs)
            if self.training:
                self.calls += 1
                self.average.lerp_(logits.detach().mean(dim=0), 0.1)
            return logits - self.average

    with pytest.raises(Refused, match=r"buffer model\.average"):
        fit(DPSGD(engine=engine), Task(Centred()), data())


def test_the_fast_engine_is_refused_where_it_is_wrong() -> None:
    class Summed(Task):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return nn.functional.cross_entropy(self(batch[0]), batch[1], reduction="sum")

    with pytest.raises(Refused, match="engine=microbatch"):
        fit(DPSGD(engine="hooks"), Summed(), data())
    fitted = fit(DPSGD(), Summed(), data())
    assert fitted.attachment._choice is not None
    assert fitted.attachment._choice.name == "microbatch"


def test_a_missing_accountant_is_noted_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_pld, "available", lambda: False)
    notes = [problem for problem in DPSGD().preflight(make_draft(Task(), data(), max_epochs=1))]
    assert [note.fix for note in notes if "dp-accounting" in note.message] == [_pld.INSTALL]
    assert "RDP accountant" in notes[0].message
