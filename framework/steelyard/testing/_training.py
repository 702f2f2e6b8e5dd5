"""Checks of the training: what a plugin does to it, leaves of it and keeps of it."""

import io
import re
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from omegaconf import OmegaConf
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor
from typing_extensions import override

from steelyard import checkpoints, training
from steelyard.narrowing import is_mapping, is_sequence
from steelyard.seam import Seam
from steelyard.testing import _state
from steelyard.testing._bench import Attached, Bench, fit
from steelyard.testing._verdict import after, does_not_apply, expect, expect_none

FREES = {
    "hooks on layers": {Seam.MODULES, Seam.GRAPH},
    "train and eval flags": {Seam.MODULES},
    "which weights are trained": {Seam.MODULES, Seam.OPTIMIZER},
    "overrides and attributes on layers": {Seam.MODULES, Seam.GRAPH},
    "attributes of weights": {Seam.MODULES},
}
"""What may look different after the fit, by the seams of which one must be claimed."""


class Bomb(Exception):
    """The exception that ends a fit on purpose."""


class _Bomber(Callback):
    """Raises in the middle of a step: after the forward pass, before the backward pass.

    Args:
        epoch: The first one in which it raises, from its second step on.
    """

    def __init__(self, *, epoch: int = 0) -> None:
        self._epoch = epoch

    @override
    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        if trainer.current_epoch >= self._epoch and trainer.global_step >= 1:
            raise Bomb


class TrainingChecks(Bench):
    """What a plugin may do between the first step and the last."""

    def test_trains(self) -> None:
        """Two epochs through the real core."""
        made = self._attached()
        with _state.contained(), TemporaryDirectory(prefix="steelyard-") as folder:
            fit(made, Path(folder))

    def test_without_a_claim_training_is_the_same_to_the_bit(self) -> None:
        """Who claims no seam only watches."""
        if self._claims():
            raise does_not_apply(f"it claims {', '.join(sorted(self._claims()))}")
        with self._trained(plain=True) as plain, self._trained() as watched:
            before = {**_state.weights(plain.run.task), **plain.streams, "the number of steps": plain.steps}
            now = {**_state.weights(watched.run.task), **watched.streams, "the number of steps": watched.steps}
        advice = "training differs from a run without the plugin; claim the seam, or draw from a generator of your own"
        expect_none(_state.differences(before, now), advice)

    def test_training_leaves_nothing_behind(self) -> None:
        """Wraps, hooks and flags are gone when the run is measured."""
        with self._trained(plain=True) as plain, self._trained() as watched:
            found = self._left(plain.remains, watched.remains)
        expect_none(found, "after the fit this differs from a run without the plugin; undo it in `on_fit_end`")

    def test_an_exception_leaves_nothing_behind(self) -> None:
        """Lightning calls `on_exception` then, and no teardown."""
        with after("test_training_leaves_nothing_behind"):
            self.test_training_leaves_nothing_behind()
        plain, watched = self._exploded(_Bomber(), plain=True), self._exploded(_Bomber())
        found = self._left(_state.remains(plain.draft), _state.remains(watched.draft))
        advice = "an exception in the middle of a step leaves this behind; undo it in `on_exception` too"
        expect_none(found, advice)

    def test_state_is_plain(self) -> None:
        """Checkpoints hold tensors and plain values, which no stranger can turn into code."""
        with self._trained() as trained:
            state = trained.made.attachment.state_dict()
        try:
            back = _through_a_file(state)
        except Exception as error:
            named = re.search(r"GLOBAL (\S+)", str(error))
            what = named[1] if named else str(error).partition("\n")[0]
            advice = f"state_dict may hold tensors, numbers, text, lists and dicts of these only; it holds {what}"
            raise AssertionError(advice) from error
        expect_none(_unequal(state, back), "state_dict changes on its way through a file")

    def test_state_comes_back(self) -> None:
        """What `state_dict` gave, `load_state_dict` takes."""
        with self._trained() as trained:
            state = trained.made.attachment.state_dict()
        with after("test_state_is_plain"):
            stored = _through_a_file(state)
        other = self._attached().attachment
        other.load_state_dict(_through_a_file(state))
        advice = "load_state_dict of a new attachment does not bring these back"
        expect_none(_unequal(stored, other.state_dict()), advice)

    def test_resume_goes_on_with_the_state(self) -> None:
        """A run that broke in its second epoch is taken up after the first, from its own checkpoint."""
        with after("test_state_comes_back"):
            self.test_state_comes_back()
        with TemporaryDirectory(prefix="steelyard-") as name:
            last = Path(name) / "checkpoints" / checkpoints.LAST
            with after("test_an_exception_leaves_nothing_behind"):
                first = self._exploded(_Bomber(epoch=1), folder=Path(name))
            try:
                kept = checkpoints.load(last)
            except ValueError as error:
                raise AssertionError(f"a checkpoint written during training cannot be read: {error}") from error
            states: Mapping[str, Any] = kept["callbacks"]
            state = states.get(self._key(), {})
            told = f"the checkpoint does not keep its state under {self._key()}: leave `state_key` alone"
            expect(bool(state) == bool(first.attachment.state_dict()), told)
            second = self._attached()
            spy = _Spy(second)
            try:
                with _state.contained():
                    fit(second, Path(name), checkpoint=last)
            except Exception as error:
                raise AssertionError(f"training does not go on from a checkpoint: {error!r}") from error
        if state:
            expect_none(_unequal(state, spy.state), "right after the checkpoint was loaded, these differ from it")

    def _exploded(self, bomber: _Bomber, *, plain: bool = False, folder: Path | None = None) -> Attached:
        """A run that an exception ended; it keeps checkpoints if it is given a folder."""
        made = self._attached(bomber, plain=plain)
        config = OmegaConf.create({"checkpoints": "none" if folder is None else "last"})
        with _state.contained(), TemporaryDirectory(prefix="steelyard-") as elsewhere:
            place = folder or Path(elsewhere)
            trainer = training.make_trainer(config, made.draft, made.selected, made.attachments, place)
            try:
                training.fit(trainer, made.draft, None)
            except Bomb:
                return made
            except Exception as error:
                advice = f"an exception in the middle of a step was hidden by {error!r} from the plugin"
                raise AssertionError(advice) from error
        raise AssertionError(
            "a callback should raise in the middle of training, but no step came: train for two epochs"
        )

    def _left(self, plain: _state.State, watched: _state.State) -> list[str]:
        free = {name for name, seams in FREES.items() if seams & self._claims()}
        shown = {name: value for name, value in watched.items() if name not in free}
        return list(_state.differences({name: plain[name] for name in shown}, shown))


class _Spy:
    """Remembers the state that an attachment has right after Lightning has restored it."""

    def __init__(self, made: Attached) -> None:
        self.state: Mapping[str, Any] | None = None
        attachment = made.attachment
        load = attachment.load_state_dict

        def loaded(state_dict: dict[str, Any]) -> None:
            load(state_dict)
            self.state = _through_a_file(attachment.state_dict())

        attachment.load_state_dict = loaded


def _through_a_file(state: Mapping[str, Any]) -> dict[str, Any]:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def _unequal(one: Any, other: Any, path: str = "state") -> list[str]:
    if is_mapping(one) and is_mapping(other):
        keys = [*one, *(key for key in other if key not in one)]
        missing = [f"{path}[{key!r}]" for key in keys if (key in one) != (key in other)]
        pairs = [(one[key], other[key], f"{path}[{key!r}]") for key in one if key in other]
    elif is_sequence(one) and is_sequence(other) and len(one) == len(other):
        missing, pairs = [], [(old, new, f"{path}[{at}]") for at, (old, new) in enumerate(zip(one, other, strict=True))]
    elif isinstance(one, Tensor) and isinstance(other, Tensor):
        # Bit for bit where the types agree; NaN equals itself.
        same = one.dtype == other.dtype and torch.allclose(one, other, rtol=0, atol=0, equal_nan=True)
        return [] if same and one.shape == other.shape else [path]
    else:
        same = one == other or (one != one and other != other)
        return [] if same else [f"{path}: {one!r} became {other!r}"]
    return missing + [line for old, new, below in pairs for line in _unequal(old, new, below)]
