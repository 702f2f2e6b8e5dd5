"""What a process does before it forks."""

import logging
import os
import random
import signal
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from steelyard.sweeping import warmth


def test_a_little_training_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    def around() -> list[object]:
        return [
            random.getstate(),
            np.random.get_state()[1].tolist(),
            torch.get_rng_state().tolist(),
            torch.get_num_threads(),
            torch.get_default_dtype(),
            torch.is_grad_enabled(),
            dict(os.environ),
            warnings.filters[:],
            logging.root.manager.disable,
            threading.active_count(),
            [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)],
            list(tmp_path.iterdir()),
        ]

    before = around()
    warmth.train_a_little()
    assert around() == before


HELD = """
import os, sys
import numpy as np
from steelyard.sweeping import warmth
kept = np.arange(3 << 20)
right = int(kept.sum())
warming = warmth.warming_up(warmth.MANY)
next(warming)
forks = []
go_on, begin = os.pipe()
for number, _ in enumerate(warming, start=1):
    # One that lives on while this process's memory goes on being moved.
    if len(forks) < 3:
        pid = os.fork()
        if not pid:
            os.close(begin)
            kept[7] = 0
            os.read(go_on, 1)
            os._exit(int(kept.sum() != right - 7 + number - 1))
        forks.append(pid)
    kept[1] += 1
right += number
wrong = int(kept.sum() != right)
os.close(begin)
for pid in forks:
    wrong = wrong or os.waitpid(pid, 0)[1]
sys.exit(wrong)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="huge pages of Linux")
def test_memory_that_is_put_together_holds_what_it_held() -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    assert subprocess.run([sys.executable, "-c", HELD], env=environment, timeout=60).returncode == 0
