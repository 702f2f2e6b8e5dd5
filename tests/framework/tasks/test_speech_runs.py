"""Sounds through whole runs, weighed by every first plugin."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import steelyard
from steelyard.measurement import Status
from steelyard.problem import Refused
from steelyard.scorecard import Scorecard

soundfile = pytest.importorskip("soundfile")
RATE = 4000
QUICK = (
    "trainer.max_epochs=1",
    "trainer.enable_progress_bar=false",
    "interpretability.attribution.samples=4",
    "interpretability.attribution.pictures=2",
    "interpretability.attribution.max_steps=16",
    "interpretability.attribution.random_orders=2",
)
PRIVATE = ("privacy=[dp_sgd,membership]", "optimizer=sgd", "scheduler=none")
PLUGINS = {"compute.cost", "interpretability.attribution", "privacy.membership", "stability.noise"}
WORDS = ("low", "high")
TINY = {
    "keyword": ("data=audio_folder", "model.channels=[4,8]"),
    "voice_search": ("data=audio_folder", "model.channels=[4,8]"),
    "recognition": ("data=audio_csv", "model.width=16", "model.layers=1"),
    "wav2vec2": ("data=audio_csv", "model=wav2vec2", "model.width=32", "model.layers=1", "model.channels=8"),
    "dictation": ("data=audio_csv", "model.width=16", "model.layers=1", "model.heads=2"),
}


@pytest.fixture
def sounds(tmp_path: Path) -> Path:
    """Tones of half a second, a folder for each word, and a table of all of them."""
    rows = ["path,text"]
    noise = np.random.default_rng(0)
    for word, pitch in zip(WORDS, (300, 900), strict=True):
        (tmp_path / word).mkdir()
        for number in range(20):
            path = tmp_path / word / f"{number}.wav"
            tone = 0.3 * np.sin(2 * np.pi * (pitch + 5 * number) * np.arange(RATE // 2) / RATE)
            soundfile.write(path, tone + 0.01 * noise.standard_normal(len(tone)), RATE)
            rows.append(f"{word}/{number}.wav,{word}")
    (tmp_path / "all.csv").write_text("\n".join(rows))
    return tmp_path


def words(name: str, sounds: Path) -> tuple[str, ...]:
    experiment = "recognition" if name == "wav2vec2" else name
    place = f"data.path={sounds / 'all.csv'}" if "data=audio_csv" in TINY[name] else f"data.root={sounds}"
    length = (f"data.sample_rate={RATE}", "data.seconds=0.5", "data.batch_size=8", "data.test_fraction=0.3")
    return (f"experiment={experiment}", *TINY[name], place, *length, *QUICK)


LONGEST = ("dictation", "wav2vec2")
"""Each of them takes as long as all others."""


@pytest.mark.parametrize(
    ("name", "private"),
    [
        ("recognition", False),
        *(pytest.param(name, True, marks=[pytest.mark.slow] if name in LONGEST else []) for name in TINY),
    ],
)
def test_sounds_are_weighed_on_all_four_challenges(workdir: Path, sounds: Path, name: str, private: bool) -> None:
    scorecard: Scorecard = steelyard.run(*words(name, sounds), *(PRIVATE if private else ()))
    failed = {section.key: section.note for section in scorecard.sections if section.status is Status.FAILED}
    assert failed == {}
    assert {section.key for section in scorecard.sections} >= PLUGINS
    (stored,) = workdir.glob("outputs/*/scorecard.json")
    assert "attributions" in json.dumps(json.loads(stored.read_text()))
    # Windows of 40 ms in half a second.
    assert "13 units" in scorecard["interpretability.attribution.deletion_gap"].note
    assert scorecard["stability.noise.worst_flips"].count == 12
    if private:
        assert scorecard["privacy.dp_sgd.epsilon"].value == pytest.approx(8, abs=0.01)


def test_a_missing_synthesiser_refuses_the_run(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(workdir))
    with pytest.raises(Refused, match="sudo apt-get install espeak-ng"):
        steelyard.run("experiment=keyword", f"data.cache={workdir}")


LONG = [
    ("keyword", "accuracy", 0.90),
    ("voice_search", "recall_at_5", 0.80),
    ("recognition", "wer", 0.05),
]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="needs Debian's package espeak-ng")
@pytest.mark.parametrize(("experiment", "measure", "bound"), LONG)
def test_the_stated_score_is_reached(workdir: Path, experiment: str, measure: str, bound: float) -> None:
    off = ("compute=none", "privacy=none", "interpretability=none", "stability=none")
    found = steelyard.run(f"experiment={experiment}", "trainer.enable_progress_bar=false", *off)[f"task.{measure}"]
    assert found.value is not None
    assert found.value <= bound if measure == "wer" else found.value >= bound
