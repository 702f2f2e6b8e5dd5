"""Canaries in real trainings: a training without noise is caught, a private one is not accused."""

import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader

from private_runs import Examples, Task, data, examples, make_draft, mlp, weights
from small_runs import TABLE, frozen
from steelyard import assembly
from steelyard.measurement import Measurement, Status
from steelyard.plugin import Plugin
from steelyard.problem import Refused
from steelyard.selection import Selected
from steelyard_privacy._canaries import MODULE, CanaryAudit
from steelyard_privacy._canary_marks import Marked, marked, with_marks, without_marks
from steelyard_privacy.canaries import Canaries
from steelyard_privacy.dp_sgd import DPSGD

COUNT = 160
NOISE = 0.8
PRIVATE = DPSGD(target_epsilon=None, noise_multiplier=NOISE, noise_seed=3, engine="hooks")


@dataclass
class Audited:
    task: Task
    audit: CanaryAudit
    promise: float | None
    keys: set[str]

    def measured(self) -> dict[str, Measurement]:
        run = frozen(self.task, data(), adapter=TABLE)
        return {item.name: item for item in self.audit.measure(run) if isinstance(item, Measurement)}


class Keys(Callback):
    def __init__(self) -> None:
        self.seen: set[str] = set()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert hasattr(pl_module, MODULE)
        self.seen = {*pl_module.state_dict()}
        pl_module.load_state_dict(pl_module.state_dict())


def audited(plugins: Sequence[Plugin], task: Task | None = None, *, epochs: int = 6) -> Audited:
    names = {Canaries: "privacy.canaries", DPSGD: "privacy.dp_sgd"}
    selected = [Selected(names[type(plugin)], plugin) for plugin in plugins]
    torch.manual_seed(0)
    task = task or Task(nn.Linear(6, 3))
    module = data(400, batch_size=40)
    draft = make_draft(task, module, max_epochs=epochs)
    attachments = assembly.attach(selected, draft)
    spy = Keys()
    extra = [spy] if any(isinstance(plugin, Canaries) for plugin in plugins) else []
    with assembly.wrapped(draft):
        trainer = Trainer(**draft.trainer, callbacks=[*assembly.callbacks(selected, attachments), *extra])
        torch.manual_seed(1)
        trainer.fit(task, datamodule=module)
    account: Any = attachments.get("privacy.dp_sgd")
    audit: Any = attachments.get("privacy.canaries")
    return Audited(task, audit, account and account._account.epsilon, spy.seen)


@pytest.fixture(scope="module")
def private() -> Audited:
    return audited([Canaries(count=COUNT), PRIVATE])


@pytest.fixture(scope="module")
def plain() -> Audited:
    return audited([Canaries(count=COUNT)])


def test_a_training_without_noise_is_caught(plain: Audited) -> None:
    found = plain.measured()
    assert {row.status for row in found.values()} == {Status.MEASURED}
    assert found["epsilon_lower_bound"].value > 2.5
    assert found["epsilon_lower_bound_fdp"].value > found["epsilon_lower_bound"].value
    assert found["guessed_right"].value > 0.9  # the coins need not fall half and half


def test_a_private_training_is_not_accused(private: Audited) -> None:
    found = private.measured()
    assert {row.status for row in found.values()} == {Status.MEASURED}
    for name in ("epsilon_lower_bound", "epsilon_lower_bound_fdp"):
        assert 0 <= found[name].value < private.promise
        assert found[name].bounds == "privacy.dp_sgd.epsilon"
    assert found["noiseless_bound"].value > found["epsilon_lower_bound"].value
    assert found["unused_coins_bound"].value == 0


def test_the_noise_that_reaches_the_canaries_is_the_promised_one(private: Audited) -> None:
    """Those that are out see N(0, (sigma C / B)^2) at every step; those that are in see C / B more when drawn."""
    audit, sigma = private.audit, 60**0.5 / 40
    out, seen = audit._sums[~audit.coins], audit._seen
    assert float(out.square().mean().sqrt()) == pytest.approx(NOISE * sigma, rel=0.25)
    clipped = (audit._sums - seen / 40)[audit.coins]
    assert float(clipped.square().mean().sqrt()) == pytest.approx(NOISE * sigma, rel=0.3)


def test_without_privacy_the_training_is_the_same_to_the_bit(plain: Audited) -> None:
    assert torch.equal(weights(plain.task), weights(audited([]).task))


def test_the_task_is_as_before_and_no_checkpoint_knows_of_canaries(private: Audited, plain: Audited) -> None:
    for run in (private, plain):
        assert {name for name, _ in run.task.named_modules()} == {"", "model"}
        assert run.keys == {"model.weight", "model.bias"}


def test_marks_that_never_arrive_make_it_invalid() -> None:
    """The control sees no canary in any batch, so that nothing follows from nobody being found."""
    found = audited([Canaries(count=COUNT)], epochs=1)
    found.audit._seen.zero_()
    assert found.measured()["epsilon_lower_bound"].status is Status.INVALID
    found.audit._fresh = found.audit.coins
    assert "coins that nobody used" in found.measured()["guessed_right"].note


def test_who_does_not_train_is_skipped() -> None:
    draft = make_draft(Task(), data(200))
    audit: Any = Canaries().attach(draft)
    run = frozen(draft.task, draft.data, adapter=TABLE, trained=False)
    assert {row.status for row in audit.measure(run)} == {Status.SKIPPED}


@pytest.mark.parametrize(
    "batch",
    [
        [torch.ones(3, 2), torch.zeros(3)],
        (torch.ones(3, 2), torch.zeros(3)),
        {"input_ids": torch.ones(3, 2)},
        torch.ones(3, 2),
        ["one", "two", "three"],
    ],
    ids=["list", "tuple", "mapping", "tensor", "texts"],
)
def test_marks_leave_a_batch_as_it_was(batch: Any) -> None:
    marks = torch.tensor([0, -1, 1])
    there = with_marks(batch, marks)
    back = without_marks(there)
    assert type(back.batch) is type(batch)
    assert str(back.batch) == str(batch)
    assert torch.equal(back.marks, marks)
    if isinstance(batch, list | tuple) and not isinstance(there, Marked):
        assert there[0] is batch[0]


def test_a_batch_without_marks_is_no_silent_zero() -> None:
    with pytest.raises(ValueError, match="lost the marks"):
        without_marks({"input_ids": torch.ones(3)})


def test_marks_follow_their_examples_through_any_loader() -> None:
    dataset = examples(10)
    loader = marked(DataLoader(dataset, batch_size=4, shuffle=True), {3: 0, 7: 1})
    loader = DataLoader(pickle.loads(pickle.dumps(loader.dataset)), batch_size=4, collate_fn=loader.collate_fn)
    found = {int(mark): row for batch in loader for row, mark in zip(batch[0], without_marks(batch).marks, strict=True)}
    assert torch.equal(found[0], dataset.tensors[0][3])
    assert torch.equal(found[1], dataset.tensors[0][7])
    assert found.keys() == {-1, 0, 1}


class Transferring(Task):
    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        return batch


class Manual(Task):
    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False


@pytest.mark.parametrize(
    ("task", "module", "words"),
    [
        (Transferring(), data(200), "on_after_batch_transfer"),
        (Manual(), data(200), "manually"),
        (Task(), data(8), "10 canaries need as many training examples"),
        (Task(), Examples(lambda: [1, 2, 3]), "not one torch DataLoader"),
    ],
    ids=["transfer", "manual", "few", "loader"],
)
def test_what_cannot_be_marked_is_refused(task: Task, module: Examples, words: str) -> None:
    problems = list(Canaries().preflight(make_draft(task, module)))
    assert any(words in problem.message for problem in problems)
    assert all(problem.fix for problem in problems)


def test_an_optimizer_that_passes_the_canaries_by_is_refused() -> None:
    class Head(Task):
        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.model.parameters(), lr=0.1)

    task = Head(mlp())
    with pytest.raises(Refused, match="never see a canary"):
        audited([Canaries(count=COUNT)], task, epochs=1)
    assert not hasattr(task, MODULE)


def test_private_training_refuses_who_changes_its_draws() -> None:
    """It shares the batches with those who change the examples, and with nobody behind its back."""
    draft = make_draft(Task(), data(64), max_epochs=1)
    selected = [Selected("privacy.dp_sgd", DPSGD(target_epsilon=None, noise_multiplier=1.0))]
    attachments = assembly.attach(selected, draft)
    draft.loaders.append(lambda loader: [*loader])
    with assembly.wrapped(draft), pytest.raises(Refused, match="after they were drawn"):
        Trainer(**draft.trainer, callbacks=[*attachments.values()]).fit(draft.task, datamodule=draft.data)


def test_a_skipped_batch_stays_skipped() -> None:
    audit: Any = Canaries().attach(make_draft(Task(), data(200)))
    step = audit.carrying(lambda batch: None)
    assert step([torch.ones(2, 6), torch.zeros(2), torch.tensor([0, -1])]) is None


def test_the_loss_keeps_its_value_and_its_mapping() -> None:
    audit: Any = Canaries(count=10).attach(make_draft(Task(), data(200)))
    loss = torch.tensor(2.5, requires_grad=True)

    def given(batch: Any) -> dict[str, Tensor]:
        return {"loss": loss, "extra": torch.ones(1)}

    output = audit.carrying(given)([torch.ones(2, 6), torch.zeros(2), torch.tensor([4, -1])])
    assert output["loss"].item() == 2.5
    assert "extra" in output
    output["loss"].backward()
    arrived = audit.weights.gradient()
    # Half of the batch of two carries it, at the default strength of 100.
    assert arrived.nonzero().flatten().tolist() == [4]
    assert float(arrived[4]) == pytest.approx(50)
