"""The benchmark of advice counts a real training, and ends one that asks for more than it is left."""

import os
import sys
from pathlib import Path
from types import ModuleType

import pytest

from steelyard.planning import foreseen

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"
LINE = ["data=digits", "model=mlp", "model.hidden=[1536,1536]", "data.batch_size=512"]
MIB = 2**20


@pytest.fixture
def advice(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import advice

    return advice


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits a data segment and tells its size")
def test_a_training_that_fits_grows_by_its_tensors_at_least_and_one_that_does_not_counts_as_none(
    advice: ModuleType,
) -> None:
    line = [*LINE, *advice.BARE]
    estimate = foreseen(advice.configured(line)).estimate
    assert estimate is not None
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    grown = advice.run(line, 2 * estimate.safe_bytes, environment)
    # Weights, gradients and two moments of Adam alone are four of the weights.
    assert 4 * 4 * estimate.parameters < grown < estimate.safe_bytes
    assert advice.run(line, 10 * MIB, environment) == 0
