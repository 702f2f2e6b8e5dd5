import errno
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from steelyard import folder, short_memory
from steelyard.cli import main
from steelyard.cli._main import Exit, explain
from steelyard.short_memory import ran_out


@pytest.mark.parametrize(
    ("error", "short"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."), True),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory: you tried"),
            True,
        ),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 4 bytes."), True),
        (RuntimeError("could not create a primitive"), True),
        (RuntimeError("std::bad_alloc"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)"), True),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), True),
        (OSError(errno.ENOSPC, "No space left on device"), False),
        (RuntimeError("could not create a primitive descriptor for the convolution forward propagation"), False),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_what_running_out_of_memory_looks_like(error: BaseException, short: bool) -> None:
    assert ran_out(error) is short


def test_torch_and_numpy_say_it_so() -> None:
    for ask in (lambda: torch.empty(2**60), lambda: np.empty(2**55, dtype=np.uint8)):
        with pytest.raises((RuntimeError, MemoryError)) as raised:
            ask()
        assert ran_out(raised.value)


def test_a_run_that_ran_out_of_memory_is_told_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert explain(RuntimeError("could not create a primitive"), folder="outputs/x") == Exit.FAILED
    assert f"memory ran out: {short_memory.FIX}" in capsys.readouterr().err
    assert explain(RuntimeError("no"), folder="outputs/x") == Exit.FAILED
    assert "memory" not in capsys.readouterr().err


SHORT = """
import os, resource, signal, sys
from pathlib import Path
import torch
from torch.nn.functional import conv2d
from steelyard.short_memory import ran_out
torch.set_num_threads(1)
images, weight = torch.ones(16, 64, 64, 64), torch.ones(64, 64, 3, 3)
lines = Path("/proc/self/status").read_text().splitlines()
now = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmData:"))
known = crashed = 0
for room in range(8, 640):
    child = os.fork()
    if not child:
        resource.setrlimit(resource.RLIMIT_DATA, (now + room * 2**17, resource.RLIM_INFINITY))
        try:
            conv2d(images, weight)
        except (RuntimeError, MemoryError) as error:
            resource.setrlimit(resource.RLIMIT_DATA, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            print(room, type(error).__name__, str(error)[:60], flush=True)
            os._exit(3 if ran_out(error) else 4)
        os._exit(0)
    end = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert end in (0, 3, -signal.SIGSEGV), (room, end)
    known, crashed = known + (end == 3), crashed + (end == -signal.SIGSEGV)
    if not end:
        break
print(known, "known and", crashed, "crashed")
assert known > 5 * crashed and not end
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the limit is Linux's")
def test_a_convolution_under_a_limit_that_is_too_low_is_known() -> None:
    """Each limit has a process of its own: at some torch's convolution crashes without a word, which is no news."""
    assert resource.RLIMIT_DATA
    done = subprocess.run([sys.executable, "-c", SHORT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


BARE = ("data=digits", "privacy=none", "interpretability=none", "trainer.max_epochs=1", "trainer.accelerator=cpu")


@pytest.mark.parametrize("word", ["compute=[budget]", "stability=[train_guard]"])
def test_a_training_that_runs_out_of_memory_says_so_wherever_it_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str], word: str
) -> None:
    def short(*_: object) -> None:
        # So oneDNN says it inside of GELU.
        raise RuntimeError("could not create a primitive")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(nn.ReLU, "forward", short)
    limit = ["compute.budget.seconds=60", "compute.budget.gb=4"] if "budget" in word else []
    assert main(["run", *BARE, word, *limit]) == Exit.FAILED
    said = f"memory ran out: {short_memory.FIX}"
    assert said in capsys.readouterr().err
    (place,) = tmp_path.glob("outputs/*")
    assert (place / "traceback.txt").read_text().endswith(f"RuntimeError: could not create a primitive\n{said}\n")
    assert folder.status(place).message == f"RuntimeError: could not create a primitive; {said}"


def test_an_error_is_noted_once() -> None:
    error = RuntimeError("could not create a primitive")
    line = short_memory.noted(error)
    assert short_memory.noted(error) == line
    assert error.__notes__ == [f"memory ran out: {short_memory.FIX}"]
    assert short_memory.noted(RuntimeError(line)) == f"RuntimeError: {line}"
    assert short_memory.noted(ValueError("no")) == "ValueError: no"
