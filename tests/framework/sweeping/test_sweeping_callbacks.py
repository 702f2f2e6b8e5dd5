"""What Lightning asks for each Trainer is asked once for all trials of a sweep."""

import importlib.metadata
import os
import sys
from pathlib import Path
from typing import Any

import lightning_fabric.utilities.registry as asker
import pytest
import pytorch_lightning
from pytorch_lightning import Callback, Trainer

from helpers.forked import in_a_fork
from steelyard.sweeping import _callbacks

GROUP = "pytorch_lightning.callbacks_factory"
OFF: dict[str, Any] = {name: False for name in ("logger", "enable_progress_bar", "enable_checkpointing")}
BRINGS = """
from pytorch_lightning import Callback
class Brought(Callback): pass
def bring(): return [Brought()]
"""


def install(place: Path, name: str) -> None:
    (place / f"{name}.py").write_text(BRINGS)
    info = place / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{GROUP}]\n{name} = {name}:bring\n")


def brought() -> list[str]:
    """The callbacks of a Trainer, in a process that knows the answer, and whether any file was read for it."""
    read: list[str] = []
    _callbacks.use()
    # A hook cannot be taken off; this process ends soon.
    sys.addaudithook(lambda event, args: read.append(str(args[0])) if event == "open" else None)
    trainer = Trainer(enable_model_summary=False, accelerator="cpu", **OFF)
    callbacks: list[Callback] = trainer.callbacks  # pyright: ignore[reportAttributeAccessIssue]
    names = sorted(type(one).__module__ for one in callbacks if not type(one).__module__.startswith("pytorch"))
    return [*names, *(["read"] if any(path.endswith("entry_points.txt") for path in read) else [])]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(_callbacks, "_known", {})
    return tmp_path


def test_lightning_asks_through_a_name_of_its_own() -> None:
    assert pytorch_lightning.__version__ == "2.6.6"
    assert asker.entry_points is importlib.metadata.entry_points


def test_a_fork_has_the_answer_without_reading_a_file(place: Path) -> None:
    install(place, "steelyard_test_brings")
    assert in_a_fork(brought) == ["steelyard_test_brings", "read"]  # nobody has asked before
    _callbacks.look_up()
    assert in_a_fork(brought) == ["steelyard_test_brings"]


def test_what_is_installed_later_is_seen(place: Path) -> None:
    _callbacks.look_up()
    assert in_a_fork(brought) == []
    os.utime(place, (0, 0))
    install(place, "steelyard_test_brings_later")
    assert in_a_fork(brought) == ["steelyard_test_brings_later", "read"]


def test_a_changed_path_is_seen(place: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    _callbacks.look_up()
    other = tmp_path_factory.mktemp("other")
    install(other, "steelyard_test_brings_elsewhere")

    def moved() -> list[str]:
        sys.path.insert(0, str(other))
        return brought()

    assert in_a_fork(moved) == ["steelyard_test_brings_elsewhere", "read"]


def test_the_process_that_is_forked_keeps_its_own(place: Path) -> None:
    del place
    _callbacks.look_up()
    in_a_fork(brought)
    assert asker.entry_points is importlib.metadata.entry_points
