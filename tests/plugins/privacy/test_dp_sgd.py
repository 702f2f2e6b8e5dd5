"""DP-SGD through a real `Trainer.fit`."""

import copy
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback
from scipy.stats import norm
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics.classification import MulticlassAccuracy

from private_runs import Examples, Fitted, Task, data, examples, fit, mlp, replanned, weights
from steelyard.adapters import ClassScoring
from steelyard.adapters.table import TableAdapter
from steelyard.draft import Draft
from steelyard_privacy._dp_sgd import BudgetExhausted, PrivateTraining
from steelyard_privacy._plan import make_plan
from steelyard_privacy._randomness import Randomness
from steelyard_privacy._sampling import poisson_draw
from steelyard_privacy.dp_sgd import DPSGD

SEED = 7
CPU = torch.device("cpu")


def reference(
    task: Task, *, count: int, batch_size: int, steps: int, noise_multiplier: float, max_norm: float
) -> Tensor:
    """Algorithm 1 of Abadi et al. 2016, one example at a time, written without the plugin's engines."""
    task = copy.deepcopy(task)
    dataset, randomness = examples(count), Randomness(SEED)
    parameters = list(task.parameters())
    for step in range(steps):
        generator = randomness.draws(step=step)
        drawn = poisson_draw(count, rate=batch_size / count, generator=generator)
        total = torch.zeros(len(weights(task)), dtype=torch.float64)
        for index in drawn.tolist():
            inputs, target = dataset[index]
            loss = functional.cross_entropy(task(inputs[None]), target[None])
            gradient = torch.cat([part.reshape(-1) for part in torch.autograd.grad(loss, parameters)]).double()
            total += gradient * min(1.0, max_norm / float(gradient.norm()))
        noise = torch.empty(total.shape)
        randomness.noise(step=step, device=CPU).fill(noise, scale=1.0)
        released = (total + noise_multiplier * max_norm * noise.double()) / batch_size
        with torch.no_grad():
            for parameter, change in zip(parameters, released.split([p.numel() for p in parameters]), strict=True):
                parameter -= task.lr * change.view_as(parameter).to(parameter.dtype)
    return weights(task)


@pytest.mark.parametrize("engine", ["auto", "hooks", "opacus", "microbatch"])
@pytest.mark.parametrize("largest", [None, 5])
def test_training_equals_one_example_at_a_time(engine: Any, largest: int | None) -> None:
    torch.manual_seed(0)
    task = Task()
    expected = reference(task, count=48, batch_size=12, steps=8, noise_multiplier=0.7, max_norm=0.5)
    plugin = DPSGD(
        noise_multiplier=0.7,
        target_epsilon=None,
        max_grad_norm=0.5,
        noise_seed=SEED,
        engine=engine,
        max_physical_batch_size=largest,
    )
    fitted = fit(plugin, task, data(48, batch_size=12), max_epochs=2)
    assert fitted.trainer.global_step == 8
    torch.testing.assert_close(weights(fitted.task), expected, rtol=1e-5, atol=1e-6)


def test_without_noise_and_clipping_it_is_plain_sgd() -> None:
    """One batch of everybody (q = 1): the released gradient is the ordinary one."""
    torch.manual_seed(0)
    task = Task()
    plain = copy.deepcopy(task)
    dataset = examples(32)
    optimizer = torch.optim.SGD(plain.parameters(), lr=plain.lr)
    for _ in range(5):
        optimizer.zero_grad()
        functional.cross_entropy(plain(dataset.tensors[0]), dataset.tensors[1]).backward()
        optimizer.step()
    fit(
        DPSGD(max_grad_norm=1e6),
        task,
        data(32, batch_size=32),
        prepare=lambda attachment: replanned(attachment, noise_multiplier=0.0),
        max_epochs=5,
    )
    torch.testing.assert_close(weights(task), weights(plain), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("poison", [math.nan, math.inf, 1e30])
@pytest.mark.parametrize("engine", ["auto", "microbatch"])
def test_one_bad_example_moves_the_update_by_at_most_c(poison: float, engine: Any) -> None:
    def trained(value: float | None) -> Tensor:
        torch.manual_seed(0)
        inputs, targets = examples(24).tensors
        inputs = inputs.clone()
        if value is None:
            inputs, targets = inputs[1:], targets[1:]
        else:
            inputs[0] = value
        dataset = TensorDataset(inputs, targets)
        task = Task(lr=1.0)
        module = Examples(lambda: DataLoader(dataset, batch_size=len(dataset), shuffle=True))
        # The same divisor for both: it is the expected batch size, which does not depend on who was drawn.
        plugin = DPSGD(max_grad_norm=0.3, engine=engine)
        fit(plugin, task, module, prepare=lambda one: replanned(one, noise_multiplier=0.0), max_steps=1)
        return weights(task) * len(dataset)

    torch.manual_seed(0)
    start = weights(Task(lr=1.0))
    moved = (trained(poison) - 24 * start) - (trained(None) - 23 * start)
    assert float(moved.norm()) <= 0.3 * (1 + 1e-4)


def test_noise_has_the_promised_size() -> None:
    """Weights without any influence on the loss move by noise alone: their spread is lr sigma C / B sqrt(steps)."""

    class Idle(Task):
        def __init__(self) -> None:
            super().__init__(lr=0.5)
            self.idle = nn.Linear(100, 100, bias=False)
            nn.init.zeros_(self.idle.weight)

    task = Idle()
    plugin = DPSGD(noise_multiplier=1.5, target_epsilon=None, max_grad_norm=2.0)
    fitted = fit(plugin, task, data(64, batch_size=16), max_epochs=5)
    steps = fitted.trainer.global_step
    moved = task.idle.weight.detach().reshape(-1)
    expected = 0.5 * 1.5 * 2.0 / 16 * math.sqrt(steps)
    # Five standard errors of the spread of 10,000 normal draws.
    assert float(moved.std()) == pytest.approx(expected, rel=5 / math.sqrt(2 * 10_000))
    assert abs(float(moved.mean())) < norm.isf(1e-6) * expected / 100


def test_noise_is_fresh_in_every_run_whatever_the_seed() -> None:
    def trained(seed: int | None) -> Tensor:
        torch.manual_seed(0)
        task = Task()
        torch.manual_seed(0)
        fit(DPSGD(noise_multiplier=1.0, target_epsilon=None, noise_seed=seed), task, data(32))
        return weights(task)

    assert not torch.equal(trained(None), trained(None))
    assert torch.equal(trained(3), trained(3))
    assert not torch.equal(trained(3), trained(4))


def test_the_run_ends_within_its_target_whatever_min_epochs_says() -> None:
    plugin = DPSGD(noise_multiplier=2.0, target_epsilon=3.0)
    fitted = fit(plugin, Task(), data(64, batch_size=16), max_epochs=50, min_epochs=50)
    mechanism, steps = fitted.attachment._account.mechanism, fitted.trainer.global_step
    assert 0 < steps < 50 * 4
    assert fitted.attachment._account.steps == steps
    assert mechanism.epsilon(steps=steps) <= 3.0 < mechanism.epsilon(steps=steps + 1)


def test_a_step_past_the_budget_is_an_error() -> None:
    plugin = DPSGD(noise_multiplier=2.0, target_epsilon=3.0)

    def forget(attachment: PrivateTraining) -> None:
        attachment._account = replace(attachment._account, steps=attachment._plan.affordable_steps)

    with pytest.raises(BudgetExhausted):
        fit(plugin, Task(), data(64), prepare=forget)


def test_empty_batches_are_steps_without_user_code() -> None:
    seen: list[int] = []

    class Counting(Task):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            seen.append(len(batch[0]))
            return super().training_step(batch, batch_idx)

    fitted = fit(DPSGD(), Counting(), data(40, batch_size=1), max_epochs=1)
    assert fitted.trainer.global_step == 40
    assert fitted.attachment._account.steps == 40
    assert 0 not in seen


def test_the_learning_rate_schedule_sees_the_true_length() -> None:
    class Scheduled(Task):
        def configure_optimizers(self) -> Any:
            optimizer = super().configure_optimizers()
            self.total = int(self.trainer.estimated_stepping_batches)
            schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=self.total)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    task = Scheduled()
    fitted = fit(DPSGD(), task, data(60, batch_size=16), max_epochs=3)
    # round(60 / 16) = 4 steps an epoch.
    assert task.total == fitted.trainer.global_step == 12


@pytest.mark.parametrize("batch_kind", ["list", "dict"])
def test_batches_of_any_structure(batch_kind: str) -> None:
    class Structured(Task):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            inputs, targets = (batch["x"], batch["y"]) if isinstance(batch, dict) else (batch[0][0], batch[1])
            return {"loss": functional.cross_entropy(self(inputs), targets), "extra": 1}

    def collate(samples: Any) -> Any:
        inputs = torch.stack([sample[0] for sample in samples])
        targets = torch.stack([sample[1] for sample in samples])
        names = [str(int(target)) for target in targets]
        return {"x": inputs, "y": targets, "name": names} if batch_kind == "dict" else [(inputs, names), targets]

    fitted = fit(
        DPSGD(max_physical_batch_size=4), Structured(), data(32, batch_size=8, collate_fn=collate), max_epochs=1
    )
    assert fitted.attachment._choice is not None
    assert fitted.attachment._choice.name == "hooks (2 Linear)"


def test_nothing_of_the_task_is_changed() -> None:
    def outside(task: Task) -> Any:
        return (
            list(task.state_dict()),
            {name: weight.requires_grad for name, weight in task.named_parameters()},
            {name: len(module._forward_hooks) for name, module in task.named_modules()},
            [vars(weight) for weight in task.parameters()],
            sorted(name for name in vars(task) if not name.startswith("_")),
        )

    task = Task()
    task.model[0].bias.requires_grad_(False)
    before = outside(task)
    fit(DPSGD(), task, data(32))
    after = outside(task)
    assert before == after


def test_nothing_of_the_task_is_changed_after_an_exception() -> None:
    class Breaking(Task):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            loss = super().training_step(batch, batch_idx)
            if self.trainer.global_step == 2:
                raise KeyError("the user's own")
            return loss

    task = Breaking()
    keys, names = list(task.state_dict()), {name for name in vars(task) if not name.startswith("_")}
    with pytest.raises(KeyError, match="the user's own"):
        fit(DPSGD(), task, data(64))
    assert list(task.state_dict()) == keys
    assert {name for name in vars(task) if not name.startswith("_")} == names
    assert all(len(module._forward_hooks) == 0 for module in task.modules())
    assert "train_dataloader" not in vars(task)


class Watching(Task):
    """Logs a loss and a metric, and counts its own calls."""

    def __init__(self) -> None:
        super().__init__()
        self.accuracy = MulticlassAccuracy(num_classes=3, average="micro")
        self.register_buffer("calls", torch.zeros(()))

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        inputs, targets = batch
        logits = self(inputs)
        loss = functional.cross_entropy(logits, targets)
        self.calls += 1
        self.accuracy(logits, targets)
        self.log("accuracy", self.accuracy, on_step=False, on_epoch=True)
        self.log("loss", loss, on_step=True, on_epoch=True)
        return loss


class Spy(Callback):
    def __init__(self) -> None:
        self.logged: list[float] = []
        self.returned: list[float] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.logged.append(float(trainer.callback_metrics["loss_step"]))
        self.returned.append(float(outputs["loss"]))


@pytest.mark.parametrize("options", [{}, {"engine": "microbatch"}, {"max_physical_batch_size": 3}])
def test_what_the_task_logs_is_the_mean_over_the_batch(options: Any) -> None:
    spy = Spy()

    def run() -> Fitted:
        torch.manual_seed(0)
        return fit(DPSGD(noise_seed=0, **options), Watching(), data(32, batch_size=8), callbacks=(spy,))

    fitted = run()
    assert spy.logged == pytest.approx(spy.returned, rel=1e-5)
    assert "privacy_epsilon" in fitted.trainer.callback_metrics
    # The metric has seen each drawn example once, probes left aside.
    assert fitted.attachment._tally.seen > 0
    assert 0 <= float(fitted.trainer.callback_metrics["accuracy"]) <= 1
    if not options:
        assert int(fitted.task.calls) == 4


def test_bf16_mixed_trains() -> None:
    fitted = fit(DPSGD(), Task(), data(32, batch_size=16), precision="bf16-mixed")
    assert torch.isfinite(weights(fitted.task)).all()


def test_workers_give_the_same_as_no_workers() -> None:
    def trained(workers: int) -> Tensor:
        torch.manual_seed(0)
        task = Task()
        fit(DPSGD(noise_seed=1), task, data(32, batch_size=8, num_workers=workers))
        return weights(task)

    assert torch.equal(trained(0), trained(1))


def test_an_optimizer_that_looks_twice_is_refused() -> None:
    class Twice(torch.optim.SGD):
        def step(self, closure: Any = None) -> Any:
            closure()
            return super().step(closure)

    class Task2(Task):
        def configure_optimizers(self) -> Any:
            return Twice(self.parameters(), lr=0.1)

    with pytest.raises(RuntimeError, match="worked on twice"):
        fit(DPSGD(), Task2(), data(32))


@pytest.mark.filterwarnings("ignore:You have overridden `on_after_batch_transfer`")
def test_a_hook_that_adds_rows_is_an_error() -> None:
    class Doubling(Task):
        def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
            return [torch.cat([part, part]) for part in batch]

    with pytest.raises(RuntimeError, match="rows reached the training step"):
        fit(DPSGD(), Doubling(), data(32))


def test_dropout_is_drawn_for_each_example() -> None:
    model = nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.5), nn.ReLU(inplace=True), nn.Linear(8, 3))
    fitted = fit(DPSGD(), Task(model), data(32))
    assert fitted.attachment._choice is not None
    assert fitted.attachment._choice.name == "hooks (2 Linear)"


def test_weights_that_are_thawed_on_the_way() -> None:
    class Thaw(Callback):
        def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
            if trainer.current_epoch == 1:
                pl_module.model[0].requires_grad_(True)

    model = mlp()
    model[0].requires_grad_(False)
    task = Task(model)
    frozen = weights(model[0])
    fitted = fit(DPSGD(), task, data(32), callbacks=(Thaw(),), max_epochs=2)
    assert fitted.attachment._sums is not None
    assert len(fitted.attachment._sums.layout.parameters) == 4
    assert not torch.equal(weights(model[0]), frozen)


@pytest.mark.parametrize(
    ("trainer", "plugin", "spent"),
    [
        ({"max_steps": 20}, DPSGD(target_epsilon=3.0), 3.0),
        # With noise of the user's own, what the steps cost; and never more than the target affords.
        ({"max_steps": 20}, DPSGD(target_epsilon=None, noise_multiplier=1.0), None),
        ({"max_steps": 20_000}, DPSGD(target_epsilon=8.0, noise_multiplier=1.0), 8.0),
    ],
)
def test_what_a_run_spends(trainer: dict[str, Any], plugin: DPSGD, spent: float | None) -> None:
    draft = draft_of(trainer)
    found = plugin.spends(draft)["epsilon"]
    plan = make_plan(plugin, draft)
    assert plan.steps is not None
    assert found == plan.mechanism.epsilon(steps=plan.steps)
    if spent is not None:
        assert 0.8 * spent < found <= spent


def test_nobody_knows_what_an_open_end_spends() -> None:
    open_end = draft_of({"max_epochs": -1, "max_time": "00:00:01:00"})
    assert DPSGD(target_epsilon=None, noise_multiplier=1.0).spends(open_end) == {}


def draft_of(trainer: dict[str, Any]) -> Draft:
    """A draft of which only the data and the length of training matter."""
    adapter = TableAdapter(scoring=ClassScoring(), bounds=None)
    return Draft(task=Task(), data=data(), trainer=trainer, adapter=adapter, seed=0)
