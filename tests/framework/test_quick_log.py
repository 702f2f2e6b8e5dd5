"""What is logged in a hurry, against Lightning's own way: every number that anybody can see, at every step."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loggers.logger import Logger
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics import MeanMetric

from steelyard import _quick_log
from steelyard._quick_log import quick_log

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers.*", "ignore:.*treespec, LeafSpec.*")

Log = Callable[["Task", int], None]


class Task(LightningModule):
    def __init__(self, say: Log) -> None:
        super().__init__()
        self.layer, self.say, self.mean = nn.Linear(3, 1), say, MeanMetric()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = self.layer(batch[0]).square().mean()
        self.latest = loss
        self.say(self, batch_idx)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("both", self.layer(batch[0]).mean())
        self.log("seen", 1.0 + batch_idx)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Rows(Logger):
    def __init__(self) -> None:
        super().__init__()
        self.rows: list[Any] = []

    @property
    def name(self) -> str:
        return "rows"

    @property
    def version(self) -> int:
        return 0

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        self.rows.append((step, dict(metrics)))

    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        pass


class Sees(Callback):
    def __init__(self) -> None:
        self.seen: list[Any] = []

    def _look(self, trainer: Trainer) -> None:
        parts = (trainer.callback_metrics, trainer.logged_metrics, trainer.progress_bar_metrics)
        self.seen.append([{name: float(value) for name, value in part.items()} for part in parts])

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        pl_module.log("from_a_callback", float(batch_idx), on_step=True, on_epoch=True)
        self._look(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        self._look(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        self._look(trainer)


def several(task: Task, step: int) -> None:
    loss = task.latest
    task.log("loss", loss)
    task.log("number", 0.5 * step)
    task.log("whole", loss.new_tensor([step]).double(), on_epoch=True)
    task.log("both", loss, on_step=True, on_epoch=True, prog_bar=True)
    task.log("sized", loss, on_epoch=True, batch_size=3 + step % 2)
    task.log("largest", loss, on_step=False, on_epoch=True, reduce_fx="max")
    task.log("sum", loss, on_step=False, on_epoch=True, reduce_fx="sum")
    task.log("half", loss.bfloat16(), on_epoch=True)
    task.log("hidden", loss, logger=False)
    task.log_dict({"first": loss, "second": 2.0})
    task.log("by_place", loss, True)
    if step % 2:
        task.log("now_and_then", loss, on_epoch=True)
    task.log("changing", loss if step % 2 else float(step), on_epoch=True)
    task.log("graph", loss, enable_graph=True)
    task.mean.update(loss.detach())
    task.log("metric", task.mean)


def trained(say: Log, *, quick: bool, calls: list[str] | None = None, **trainer: Any) -> Any:
    torch.manual_seed(0)
    task, rows, sees = Task(say), Rows(), Sees()
    loader = DataLoader(TensorDataset(torch.randn(22, 3)), batch_size=4)
    if calls is not None:
        own = task.log
        vars(task)["log"] = lambda name, *args, **options: (calls.append(name), own(name, *args, **options))[1]
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
    fitting = Trainer(accelerator="cpu", logger=rows, callbacks=[sees], log_every_n_steps=2, **quiet, **trainer)
    with quick_log(task) if quick else nullcontext():
        fitting.fit(task, loader, DataLoader(TensorDataset(torch.randn(6, 3)), batch_size=4))
    if calls is None:
        assert "log" not in vars(task)
    return rows.rows, sees.seen


@pytest.mark.parametrize("trainer", [{"max_epochs": 3}, {"max_epochs": 2, "accumulate_grad_batches": 2}])
def test_everybody_sees_the_same_numbers(trainer: dict[str, Any]) -> None:
    rows, seen = trained(several, quick=True, val_check_interval=3, **trainer)
    assert (rows, seen) == trained(several, quick=False, val_check_interval=3, **trainer)
    assert len(seen) > 10
    assert {"loss", "number", "both_step", "second", "by_place"} <= {name for _, row in rows for name in row}


def test_lightning_is_asked_once_for_each_name_and_hook_and_again_where_something_changed() -> None:
    calls: list[str] = []

    def say(task: Task, step: int) -> None:
        task.log("same", task.latest)
        task.log("other", task.latest, prog_bar=False)

    trained(say, quick=True, calls=calls, max_epochs=2, limit_val_batches=0)
    # In the first batch of an epoch, Lightning resets what it keeps where the hook changes.
    assert calls == ["same", "other", "from_a_callback", "same", "from_a_callback"]


@pytest.mark.parametrize(
    ("say", "words"),
    [
        (lambda task, step: task.log("loss", task.latest, prog_bar=step > 1), "twice"),
        (lambda task, step: task.log("loss", torch.ones(1 + (step > 1))), "single element"),
        (lambda task, step: task.log("loss", "word" if step > 1 else 1.0), "`str` values cannot"),
    ],
)
def test_what_lightning_refuses_is_refused_in_its_words(say: Log, words: str) -> None:
    def refused(*, quick: bool) -> str:
        with pytest.raises(Exception, match=words) as caught:
            trained(say, quick=quick, max_epochs=1)
        return str(caught.value)

    assert refused(quick=True) == refused(quick=False)


def test_the_private_touch_still_holds() -> None:
    # Seen on Lightning 2.6.6: if one of these moves, `_quick_log.py` is the only file to change.
    from pytorch_lightning.trainer.connectors.logger_connector.logger_connector import _LoggerConnector
    from pytorch_lightning.trainer.connectors.logger_connector.result import _get_default_dtype, _ResultCollection

    assert callable(_ResultCollection._extract_batch_size)
    assert callable(_LoggerConnector.should_reset_tensors)
    assert _quick_log._precision() == _get_default_dtype()
    assert isinstance(Trainer._results, property)
    assert Task(several)._current_fx_name is None
