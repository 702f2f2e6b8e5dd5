"""The experiments keep what they promise: each has its score in `require`."""

import pytest

import steelyard
from steelyard.measurement import Status

QUIET = ("trainer.enable_progress_bar=false", "trainer.accelerator=cpu", "checkpoints=none")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("experiment", "headline", "least", "copied"),
    [("translation", "bleu", 95, 5), ("summarisation", "rouge_l", 0.95, 0.5)],
)
def test_the_score_is_reached_and_all_four_challenges_are_weighed(workdir, experiment, headline, least, copied):
    card = steelyard.run(f"experiment={experiment}", *QUIET)
    assert {section.key: section.error for section in card.sections if section.error} == {}
    found = {row.name: row for section in card.sections for row in section.measurements}
    # Where every answer is right, no drawn examples differ, and there is no interval.
    best = found[f"task.{headline}"]
    assert (best.interval or (best.value,))[0] >= least
    assert found[f"task.copied_{headline}"].interval[1] <= copied
    assert found["stability.noise.worst_flips"].status is Status.MEASURED
    assert {key.partition(".")[0] for key in found} == {
        *("task", "compute", "privacy", "interpretability", "stability")
    }
    assert next(iter(workdir.glob("outputs/*/report.html"))).stat().st_size > 10_000
