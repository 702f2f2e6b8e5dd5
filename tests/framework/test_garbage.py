import atexit
import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest

from steelyard import garbage, planning
from steelyard.cli import main


@pytest.mark.parametrize("enabled", [True, False])
def test_nobody_looks_for_garbage_inside_and_all_is_as_before_after_an_error(enabled: bool) -> None:
    before = gc.isenabled()
    (gc.enable if enabled else gc.disable)()
    try:
        with pytest.raises(ValueError, match="enabled: False"), garbage.left_lying():
            raise ValueError(f"enabled: {gc.isenabled()}")
        assert gc.isenabled() is enabled
    finally:
        (gc.enable if before else gc.disable)()


def test_a_plan_does_not_look_for_garbage(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    looked: list[bool] = []

    class Told:
        def text(self) -> str:
            return "told"

    def plan(*_: object, **__: object) -> Told:
        looked.append(gc.isenabled())
        return Told()

    monkeypatch.setattr(planning, "plan", plan)
    assert main(["plan"]) == 0
    assert looked == [False]
    assert gc.isenabled()
    assert capsys.readouterr().out == "told\n"


def test_a_process_that_ends_does_not_look_for_garbage_either(monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[object] = []
    monkeypatch.setattr(atexit, "register", left.append)
    assert main(["--version"]) == 0
    assert left == [gc.freeze]


ENDS = """
import atexit, gc, os, sys
from steelyard import garbage

class Holder:
    def __init__(self, file):
        self.file, self.own = file, self

atexit.register(lambda: os.write(1, b"frozen" if gc.get_freeze_count() and not gc.get_objects() else b"looked"))
gc.disable()
{opened}
garbage.none_at_the_end()
garbage.none_at_the_end()
"""
OPENED = """
for name, how, what in (("text", "w", "said"), ("bytes", "wb", b"said"), ("both", "w+b", b"said"), ("closed", "w", "")):
    Holder(open(name, how)).file.write(what)
    if not what:
        Holder(open(name)).file.close()
"""


@pytest.mark.parametrize("opened", ["", OPENED])
def test_the_end_looks_at_no_library_and_loses_nothing_that_was_written(opened: str, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-c", ENDS.format(opened=opened)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("frozen", "")
    left = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert left == (dict.fromkeys(("text", "bytes", "both"), "said") | {"closed": ""} if opened else {})
