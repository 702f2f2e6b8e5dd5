"""Every experiment against its golden config.

    python tests/conf/test_conf_experiments.py

writes the files again; read the diff before you commit it.
"""

import tempfile
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from steelyard.composing import compose, expand
from steelyard.composing.source import PACKAGE

CONF = Path(__file__).parents[2] / "conf" / PACKAGE
GOLDEN = Path(__file__).parent / "golden"
EXPERIMENTS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))


def trials(experiment: str) -> dict[str, str]:
    """File name -> the checked config of each trial."""
    word = f"experiment={experiment}"
    single = compose(word)
    if not single.wants_sweep:
        return {f"{experiment}.yaml": OmegaConf.to_yaml(single.config)}
    with tempfile.TemporaryDirectory() as place:
        found = expand(word, place=Path(place))
    assert all(trial.composed for trial in found)
    return {f"{experiment}.{at.number}.yaml": OmegaConf.to_yaml(at.composed.config) for at in found if at.composed}


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_the_experiment_is_what_it_was(experiment: str) -> None:
    stored = {path.name: path.read_text() for path in GOLDEN.glob(f"{experiment}.*")}
    assert trials(experiment) == stored


def test_the_main_job_trains_plain_and_private() -> None:
    plain, private = (OmegaConf.create(text) for text in trials("first_look").values())
    assert list(plain.privacy) == ["membership"]
    assert sorted(private.privacy) == ["dp_sgd", "membership"]
    assert private.privacy.dp_sgd.target_epsilon == 8
    for config in (plain, private):
        assert [list(config[one]) for one in ("compute", "interpretability", "stability")] == [
            ["cost"],
            ["attribution"],
            ["noise"],
        ]
    del plain["privacy"], private["privacy"]
    assert plain == private


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for name in EXPERIMENTS:
        for file, text in trials(name).items():
            (GOLDEN / file).write_text(text)
