"""What Hydra's sweeper makes of the words, before anything runs."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from steelyard.composing import Trial, compose, expand
from steelyard.problem import Refused

Words = tuple[str, ...]


def chosen(trials: tuple[Trial, ...]) -> list[str]:
    return [trial.composed.choices["fairness"] if trial.composed else "refused" for trial in trials]


def test_no_two_trials_share_a_config(nothing: Words, tmp_path: Path) -> None:
    trials = expand(*nothing, "seed=0,0,1", place=tmp_path)
    configs = [trial.composed.config for trial in trials if trial.composed]
    assert len({id(one) for one in configs}) == 3
    configs[0].seed = 9
    assert [one.seed for one in configs] == [9, 0, 1]


@pytest.mark.parametrize("launcher", ["basic", "steelyard"])
def test_a_trials_config_is_that_of_a_single_run(nothing: Words, tmp_path: Path, launcher: str) -> None:
    words = (*nothing, "fairness=parity", "fairness.parity.samples=3", "optimizer.lr=0.5")
    trials = expand(*words, f"hydra/launcher={launcher}", "seed=4,5", place=tmp_path)
    for seed, trial in zip((4, 5), trials, strict=True):
        assert trial.composed is not None
        single = compose(*words, f"seed={seed}", "checkpoints=none")
        assert OmegaConf.to_yaml(trial.composed.config) == OmegaConf.to_yaml(single.config)
        assert OmegaConf.is_struct(trial.composed.config) == OmegaConf.is_struct(single.config)


def test_lists_sweep_too(nothing: Words, tmp_path: Path) -> None:
    trials = expand(*nothing, "fairness=[parity],[gap,parity]", "fairness.gap.column=age", place=tmp_path)
    assert chosen(trials) == ["parity", "gap,parity"]


def test_ranges_and_globs_sweep_too(nothing: Words, tmp_path: Path) -> None:
    trials = expand(*nothing, "optimizer=glob(ada*)", "seed=range(0,2)", place=tmp_path)
    found = [(trial.composed.choices["optimizer"], trial.composed.config.seed) for trial in trials if trial.composed]
    assert found == [("adam", 0), ("adam", 1), ("adamw", 0), ("adamw", 1)]


def test_typed_settings_of_a_plugin_that_another_trial_selects_are_dropped_with_a_note(
    nothing: Words, tmp_path: Path
) -> None:
    trials = expand(*nothing, "fairness=none,parity", "fairness.parity.threshold=0.5", place=tmp_path)
    assert chosen(trials) == ["none", "parity"]
    plain, fair = (trial.composed for trial in trials)
    assert plain is not None
    assert plain.config.fairness == {}
    assert "fairness.parity is not selected" in plain.notes[0]
    assert fair is not None
    assert fair.config.fairness.parity.threshold == 0.5


def test_settings_that_no_trial_selects_refuse_the_sweep(nothing: Words, tmp_path: Path) -> None:
    with pytest.raises(Refused) as caught:
        expand(*nothing, "seed=0,1", "fairness.parity.threshold=0.5", place=tmp_path)
    assert [problem.fix for problem in caught.value.problems] == ["fairness=parity"]


def test_settings_that_another_experiment_selects(nothing: Words, tmp_path: Path) -> None:
    trials = expand(*nothing, "experiment=none,fair", "fairness.parity.threshold=0.5", place=tmp_path)
    assert chosen(trials) == ["none", "parity"]


def test_an_experiment_that_is_a_sweep(nothing: Words, tmp_path: Path) -> None:
    trials = expand(*nothing, "experiment=fair_or_not", place=tmp_path)
    assert chosen(trials) == ["none", "parity"]
    assert trials[1].composed is not None
    assert trials[1].composed.config.fairness.parity.samples == 8
    assert trials[1].overrides[0] == "fairness=[parity]"


def test_typed_words_go_before_the_experiments_own_sweep(nothing: Words, tmp_path: Path) -> None:
    trials = expand(*nothing, "experiment=fair_or_not", "fairness=parity", "seed=1,2", place=tmp_path)
    assert chosen(trials) == ["parity", "parity"]


def test_one_wrong_trial_leaves_the_others(nothing: Words, tmp_path: Path) -> None:
    trials = expand(*nothing, "fairness=parity", "fairness.parity.samples=0,1", place=tmp_path)
    assert [trial.refused is None for trial in trials] == [False, True]


def test_an_unknown_option_of_a_sweep(nothing: Words, tmp_path: Path) -> None:
    with pytest.raises(Refused) as caught:
        expand(*nothing, "fairness=none,party", place=tmp_path)
    assert [problem.fix for problem in caught.value.problems] == ["fairness=none,parity"]


def test_trials_keep_no_checkpoints_unless_asked(nothing: Words, tmp_path: Path) -> None:
    trials = expand(*nothing, "checkpoints=auto,last", place=tmp_path)
    assert [trial.composed.config.checkpoints for trial in trials if trial.composed] == ["none", "last"]


def test_hydras_values_are_known(nothing: Words, tmp_path: Path) -> None:
    place = tmp_path / "it's a sweep"
    (trial,) = expand(*nothing, "seed=3", place=place)
    assert trial.composed is not None
    assert trial.composed.hydra.sweep.dir == str(place)


def test_other_launchers_come_later(nothing: Words, tmp_path: Path) -> None:
    with pytest.raises(Refused):
        expand(*nothing, "hydra/launcher=jobbib", place=tmp_path)
