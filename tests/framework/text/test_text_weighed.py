"""The plugins of the four challenges on tiny text classifiers and language models, in whole runs."""

import pytest

import steelyard
from steelyard.measurement import Status

TINY = ("model.width=16", "model.heads=2", "model.layers=1", "data.max_length=24", "trainer.enable_progress_bar=false")
FEW = ("interpretability.attribution.samples=6", "interpretability.attribution.pictures=2")
CHOICES = {
    "language_model": ("data=stories", "data.count=300", "data.tokens=words", "model=gpt", "task=language_model"),
    "gpt2": ("data=stories", "data.count=200", "model=gpt", "model.kind=gpt2", "task=language_model"),
    "classification": ("data=text_csv", "data.path=texts.csv", "model=bert"),
}


@pytest.fixture
def texts(workdir):
    good, bad = ("good", "fine", "lovely", "great"), ("bad", "awful", "dull", "poor")
    rows = [
        f"{number % 2},a {(bad, good)[number % 2][number % 4]} film {'again ' * (number % 7)}" for number in range(160)
    ]
    (workdir / "texts.csv").write_text("label,text\n" + "\n".join(rows))
    return workdir


@pytest.mark.parametrize("kind", ["classification", "language_model"])
def test_the_first_plugins_weigh_it(texts, kind):
    card = steelyard.run(*CHOICES[kind], *TINY, *FEW, "trainer.max_epochs=3", "optimizer.lr=0.01")
    rows = {row.name: row for row in card.measurements()}
    assert not [row for row in rows.values() if row.status is Status.FAILED]
    for name in ("compute.cost.flops_per_step", "privacy.membership.auc", "stability.noise.worst_flips"):
        assert rows[name].value is not None
    assert rows["interpretability.attribution.converged"].value == 1
    headline = rows["task.accuracy" if kind == "classification" else "task.perplexity"]
    assert headline.interval is not None


@pytest.mark.parametrize(
    ("kind", "engine"),
    [
        ("classification", "hooks"),
        pytest.param("language_model", "hooks", marks=pytest.mark.slow),
        pytest.param("gpt2", "hooks", marks=pytest.mark.slow),
    ],
)
def test_it_learns_privately_by_the_fastest_engine_that_is_right(texts, kind, engine):
    card = steelyard.run(
        *CHOICES[kind],
        *TINY,
        "privacy=dp_sgd",
        f"privacy.dp_sgd.engine={engine}",
        "privacy.dp_sgd.target_epsilon=8",
        "optimizer=sgd",
        "trainer.max_epochs=1",
        "compute=none",
        "interpretability=none",
        "stability=none",
    )
    rows = {row.name: row for row in card.measurements()}
    assert rows["privacy.dp_sgd.epsilon"].value <= 8
    assert engine in rows["privacy.dp_sgd.clipped_fraction"].note
