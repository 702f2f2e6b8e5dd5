"""The benchmark of sweeps leaves nothing running behind it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"
MANY = "import signal, sweeps; signal.signal(signal.SIGTERM, sweeps.leave); sweeps.many(100_000)"


def alive(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent's end")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_benchmark_that_is_ended_takes_its_sweep_along(number: signal.Signals, tmp_path: Path) -> None:
    paths = os.pathsep.join(path for path in sys.path if path)
    environment = {**os.environ, "PYTHONPATH": paths, "TMPDIR": str(tmp_path)}
    benchmark = subprocess.Popen([sys.executable, "-c", MANY], cwd=BENCHMARKS, env=environment)
    children = Path(f"/proc/{benchmark.pid}/task/{benchmark.pid}/children")
    deadline = time.monotonic() + 60
    while not (sweeps := [int(pid) for pid in children.read_text().split()]):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    benchmark.send_signal(number)
    assert benchmark.wait(timeout=60) == (128 + number if number == signal.SIGTERM else -number)
    while any(map(alive, sweeps)):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    # What a kill leaves is for the system to clear away.
    assert number == signal.SIGKILL or not list(tmp_path.iterdir())
