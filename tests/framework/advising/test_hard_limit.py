"""The finder's batch under a limit of the kernel: it trains, and one a sixth larger does not."""

import os
import platform
import re
import subprocess
import sys

import pytest

from steelyard.estimating._heap import LEAN

WORDS = "data=digits model=cnn model.channels=[64,128] privacy=none stability=none interpretability=none compute=none"
GB = 0.1
"""Of which a batch of this model takes the most."""

# Trains with so many rows in a process whose data segment may not grow by more than the limit.
CHILD = """
import resource, sys, tempfile, warnings
from pathlib import Path
import torch
from steelyard import assembly, building, resident, training
from steelyard.composing import compose
from steelyard.selection import plugins_of
from steelyard.short_memory import ran_out
torch.set_num_threads(1)
warnings.simplefilter("ignore")
limit, words = int(sys.argv[1]), sys.argv[2:]
config = compose(*words, "checkpoints=none", "trainer.max_epochs=2", "trainer.limit_val_batches=0").config
data = building.make_data(config)
next(iter(data.train_dataloader()))
draft = building.make_draft(config, data)
resident.settle()
lines = Path("/proc/self/status").read_text().splitlines()
now = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmData:"))
# The weights are there, and belong to what training takes.
model = sum(weight.numel() * weight.element_size() for weight in draft.task.parameters())
resource.setrlimit(resource.RLIMIT_DATA, (now - model + limit, resource.RLIM_INFINITY))
try:
    selected = plugins_of(config)
    attachments = assembly.attach(selected, draft)
    with tempfile.TemporaryDirectory() as folder:
        trainer = training.make_trainer(config, draft, selected, attachments, Path(folder))
        training.fit(trainer, draft, None)
except (RuntimeError, MemoryError) as error:
    if not ran_out(error):
        raise
    resource.setrlimit(resource.RLIMIT_DATA, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    print("short")
else:
    print("fits")
"""


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="this C library has another allocator")
def test_what_it_finds_trains_within_the_limit_and_is_85_percent_of_the_largest_that_does() -> None:
    environment = {**os.environ, **LEAN, "OMP_NUM_THREADS": "1"}

    def python(*words: str) -> str:
        done = subprocess.run([sys.executable, *words], env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    def fits(rows: int) -> bool:
        return "fits" in python("-c", CHILD, str(int(GB * 1e9)), *WORDS.split(), f"data.batch_size={rows}")

    told = python("-m", "steelyard", "plan", *WORDS.split(), "plan.largest_batch=true", f"plan.gb={GB}")
    found = re.search(r"data\.batch_size=(\d+): ", told)
    assert found is not None, told
    rows = int(found[1])
    assert fits(rows)
    low, high = rows, 2 * rows
    assert not fits(high)
    while high - low > rows // 20:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    assert rows >= 0.85 * low
