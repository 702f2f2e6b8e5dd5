"""The live half of the plugin under the conformance suite's own tests: each defect is one word."""

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from steelyard.attachment import Attachment
from steelyard.draft import Draft
from steelyard.measurement import Artefact, Measurement, Picture, Status, Table
from steelyard.problem import Problem
from steelyard.runs import Run


def preflight(defect: str, draft: Draft) -> Iterator[Problem]:
    yield Problem("all is well", level="note")
    match defect:
        case "preflight_says_text":
            yield "no"  # type: ignore
        case "preflight_says_nothing":
            yield Problem(" ", level="note")
        case "preflight_refuses":
            yield Problem("it has layers", fix="model=none")
        case "preflight_draws":
            torch.rand(1)
        case "preflight_sets":
            draft.trainer["log_every_n_steps"] = 2
        case "preflight_reads_values":
            float(next(draft.task.parameters()).detach().sum())
        case _:
            pass


def attach(defect: str, draft: Draft) -> Attachment:
    match defect:
        case "attach_gives_nothing":
            return None  # type: ignore
        case "attach_changes":
            draft.trainer["max_epochs"] = 3
        case "attach_draws":
            torch.rand(1)
        case "attach_shares":
            return _SHARED
        case _:
            pass
    return Live(defect)


class Opaque:
    """Nothing that a checkpoint or a scorecard may hold."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Opaque)


class Live(Attachment):
    def __init__(self, defect: str) -> None:
        self._defect = defect
        self._steps = 0
        self._training = False
        self._hook: Any = None
        self._measured = 0

    @property
    def state_key(self) -> str:
        return f"mine{id(self)}" if self._defect == "state_key_moves" else super().state_key

    def state_dict(self) -> dict[str, Any]:
        opaque = self._defect == "state_is_opaque" or (self._defect == "state_is_opaque_in_training" and self._training)
        return {"steps": self._steps, "tensor": torch.ones(2), "seen": Opaque() if opaque else [1, {"a": None}]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if self._defect != "state_is_lost":
            self._steps = state_dict["steps"]

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        self._training = True
        match self._defect:
            case "hook_stays" | "hook_stays_after_exception":
                self._hook = pl_module.register_forward_hook(lambda *_: None)
            case "step_stays_wrapped":
                step = pl_module.training_step
                pl_module.training_step = lambda *batch: step(*batch)
            case "loader_stays_wrapped":
                loader = trainer.datamodule.train_dataloader
                trainer.datamodule.train_dataloader = lambda: loader()
            case _:
                pass

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        if self._defect == "training_fails" or (self._defect == "resume_fails" and trainer.global_step):
            raise RuntimeError("cannot train")

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self._steps += 1
        match self._defect:
            case "training_draws_torch":
                torch.rand(1)
            case "training_draws_numpy":
                np.random.rand()
            case "training_draws_python":
                random.random()
            case _:
                pass

    def on_after_backward(self, trainer: Any, pl_module: Any) -> None:
        if self._defect == "training_scales":
            for weight in pl_module.parameters():
                weight.grad.mul_(0.5)

    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        self._training = False
        match self._defect:
            case "hook_stays_after_exception":
                self._hook.remove()
            case "flag_stays":
                pl_module.model.eval()
            case "weight_stays_frozen":
                next(pl_module.parameters()).requires_grad_(False)
            case "attribute_stays":
                next(pl_module.parameters()).mine = 1
            case "setting_stays":
                np.seterr(under="raise")
            case _:
                pass

    def measure(self, run: Run) -> Iterator[Measurement | Artefact]:
        weight, defect = next(run.task.parameters()), self._defect
        self._measured += 1
        value: Any = 0.5
        match defect:
            case "measure_fails":
                raise RuntimeError("cannot measure")
            case "measure_fails_untrained" if not run.trained:
                raise RuntimeError("cannot measure")
            case "measure_fails_late" if run.deadline is not None:
                raise RuntimeError("too late")
            case "measure_says_text":
                yield "0.5"  # type: ignore
            case "measure_says_twice":
                yield Measurement(name="half", value=0.5)
            case "measure_says_array":
                value = np.float32(0.5)
            case "measure_says_more_each_time":
                value = float(self._measured)
            case "measure_leaves_hook":
                run.task.register_forward_hook(lambda *_: None)
            case "measure_leaves_grad":
                weight.grad = torch.ones_like(weight)
            case "measure_leaves_weight":
                weight.data.mul_(2)
            case "measure_leaves_buffer":
                next(run.task.buffers()).add_(1)
            case "measure_leaves_flag":
                run.task.train()
            case "measure_leaves_frozen":
                weight.requires_grad_(False)
            case "measure_leaves_override":
                run.task.training_step = lambda *_: None
            case "measure_leaves_attribute":
                run.data.mine = 1  # type: ignore
            case "measure_draws_torch":
                torch.rand(1)
            case "measure_draws_numpy":
                np.random.rand()
            case "measure_draws_python":
                random.random()
            case "measure_leaves_setting":
                torch.set_float32_matmul_precision("medium")
            case _:
                pass
        self._ask(run)
        yield Measurement(name="Half of it" if defect == "measure_says_a_sentence" else "half", value=value)
        if defect == "measure_trusts_its_listener":
            hook = run.task.register_forward_hook(lambda *_: None)
            yield Measurement(name="more", value=1.0)
            hook.remove()
        for level in (1, 2):
            yield Measurement(
                name="curve", value=1 / level, interval=(0.0, 1.0), count=3, at={"level": level}, split="test"
            )
        yield Measurement(name="seconds", value=float(self._measured), timing=True)
        yield Measurement(name="nothing", status=Status.SKIPPED, note="there was nothing")
        note: Any = Opaque() if defect == "measure_says_an_object" else "said"
        yield Measurement(name="noted", value=1.0, note=note)
        yield Table(name="rows", title="Rows", columns=["a", "b"], rows=[[1, "x"], [0.5, None]])
        yield Picture(
            name="dots",
            title="Dots",
            png=b"no picture" if defect == "measure_draws_noise" else picture(),
            alt="" if defect == "measure_draws_unseen" else "dots",
        )

    def _ask(self, run: Run) -> None:
        """Calls the model, with a hook on it meanwhile."""
        hook = run.task.register_forward_hook(lambda *_: None)
        try:
            run.predict("test")
        except RuntimeError:
            if self._defect == "measure_trusts_the_model":
                raise
            hook.remove()
            raise
        hook.remove()


def picture() -> bytes:
    import io

    figure, file = Figure(figsize=(1, 1), dpi=20), io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


_SHARED = Live("")
