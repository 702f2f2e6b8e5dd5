import atexit
import gc

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
