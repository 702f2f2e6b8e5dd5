"""A plan and a budget on every experiment that is one run."""

from pathlib import Path

import pytest

import steelyard
from steelyard import planning
from steelyard.composing import compose
from steelyard.measurement import Status

ROOT = Path(__file__).parents[3]
REVIEWS = ROOT.parent / "shared" / "data" / "movie_reviews.csv"
FASHION = Path("/usr/share/datasets/fashion-mnist")
SWEEPS = {"none", "first_look", "fine_tuning", "tradeoff"}
EXPERIMENTS = sorted({path.stem for path in (ROOT / "conf" / "steelyard_conf" / "experiment").glob("*.yaml")} - SWEEPS)
KERAS = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
QUIET = ("privacy=none", "interpretability=none", "stability=none", "trainer.enable_progress_bar=false")


def words(experiment: str) -> list[str]:
    """Of an experiment whose data is here."""
    config = str(compose(f"experiment={experiment}").config)
    if str(FASHION) in config and not FASHION.is_dir():
        pytest.skip("needs Debian's package dataset-fashion-mnist")
    if not experiment.startswith("sentiment"):
        return [f"experiment={experiment}"]
    if not REVIEWS.exists():
        pytest.skip("needs the movie reviews")
    return [f"experiment={experiment}", f"data.path={REVIEWS}"]


@KERAS
@pytest.mark.slow
@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_a_plan_foresees_memory_and_operations(experiment: str) -> None:
    forecast = planning.foreseen(compose(*words(experiment)).config)
    assert forecast.estimate is not None, forecast.notes
    assert not forecast.notes
    assert forecast.steps
    assert min(forecast.estimate.flops, forecast.estimate.tensor_bytes, forecast.estimate.held) > 0
    # Parts of the whole.
    assert all(flops <= 1.001 * forecast.estimate.flops for flops in forecast.estimate.modules.values())


@KERAS
@pytest.mark.slow
@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_a_budget_ends_the_training_and_the_cost_is_told(experiment: str, workdir: Path) -> None:
    chosen = words(experiment)
    card = steelyard.run(*chosen, *QUIET, "compute=[cost,budget]", "compute.budget.steps=2", "data.limit=96")
    rows = {row.name: row for row in card.measurements() if not row.at}
    assert rows["compute.budget.steps"].value == 2
    assert rows["compute.cost.peak_memory"].value
    assert rows["compute.cost.flops_per_step"].value
    assert rows["compute.cost.energy"].status in (Status.MEASURED, Status.ESTIMATED)
