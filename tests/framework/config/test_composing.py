"""Every rule of options and selection."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from steelyard.composing import Composed, compose, known_to_hydra
from steelyard.problem import Refused
from steelyard.selection import plugins_of

Words = tuple[str, ...]
OwnYaml = Callable[[str, str], Path]


def refused(*words: str, folders: tuple[Path, ...] = ()) -> dict[str, str]:
    with pytest.raises(Refused) as caught:
        compose(*words, folders=folders)
    return {problem.message: problem.fix for problem in caught.value.problems}


def keys(composed: Composed) -> list[str]:
    return [selected.key for selected in plugins_of(composed.config)]


def test_a_strangers_challenge_needs_no_plus(nothing: Words) -> None:
    composed = compose(*nothing)
    assert composed.choices["fairness"] == "none"
    assert composed.config.fairness == {}
    assert keys(composed) == []


def test_one_option(nothing: Words) -> None:
    composed = compose(*nothing, "fairness=parity", "fairness.parity.threshold=0.5")
    assert composed.config.fairness == {"parity": {"threshold": 0.5, "samples": 64, "mode": "mean"}}
    assert composed.choices["fairness"] == "parity"
    (selected,) = plugins_of(composed.config)
    assert selected.key == "fairness.parity"
    assert vars(selected.plugin) == {"threshold": 0.5, "samples": 64, "mode": "mean"}


def test_a_list_of_options(nothing: Words) -> None:
    composed = compose(*nothing, "fairness=[parity,gap]", "fairness.gap.column=age")
    assert composed.choices["fairness"] == "parity,gap"
    assert keys(composed) == ["fairness.gap", "fairness.parity"]


def test_only_the_selected_declaration_is_imported(nothing: Words) -> None:
    for name in ("strangers", "strangers_broken"):
        sys.modules.pop(name, None)
    compose(*nothing)
    assert "strangers" not in sys.modules
    compose(*nothing, "fairness=parity")
    assert "strangers" in sys.modules
    assert "strangers_broken" not in sys.modules


def test_the_stored_config_is_enough_to_build_the_plugins_again(nothing: Words) -> None:
    composed = compose(*nothing, "fairness=parity")
    stored = OmegaConf.create(OmegaConf.to_yaml(composed.config))
    assert "hydra" not in stored
    assert plugins_of(stored) == plugins_of(composed.config)


def test_numbers_are_written_as_the_declaration_has_them(nothing: Words) -> None:
    typed = [compose(*nothing, "fairness=parity", f"fairness.parity.threshold={one}") for one in ("1", "1.0", "1e0")]
    assert {OmegaConf.to_yaml(composed.config) for composed in typed} == {OmegaConf.to_yaml(typed[0].config)}


def test_interpolations_stay_text(nothing: Words, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMN", "secret")
    composed = compose(
        *nothing,
        "fairness=[gap,parity]",
        "fairness.gap.column=${oc.env:COLUMN}",
        "fairness.parity.threshold=${vars.most}",
        "+vars.most=0.25",
    )
    text = OmegaConf.to_yaml(composed.config)
    assert "${oc.env:COLUMN}" in text
    assert "${vars.most}" in text
    assert "secret" not in text
    assert "fairness.gap.column=${oc.env:COLUMN}" in composed.overrides
    assert [getattr(one.plugin, "column", None) for one in plugins_of(composed.config)] == ["secret", None]


def test_an_interpolation_that_leads_nowhere(nothing: Words) -> None:
    (message,) = refused(*nothing, "fairness=parity", "fairness.parity.threshold=${vars.nowhere}")
    assert message.startswith("fairness.parity:")
    assert "vars.nowhere" in message


@pytest.mark.parametrize("word", ["fairness=null", "~fairness", "fairness=[]"])
def test_choosing_nothing_is_refused_naming_none(nothing: Words, word: str) -> None:
    found = refused(*nothing, word)
    assert list(found.values()) == ["fairness=none"]
    assert "none" in next(iter(found))


def test_null_in_a_file_is_refused_too(nothing: Words, own_yaml: OwnYaml) -> None:
    folder = own_yaml("experiment/empty", "# @package _global_\ndefaults:\n  - override /fairness: null\n")
    found = refused(*nothing, "experiment=empty", folders=(folder,))
    assert list(found.values()) == ["fairness=none"]


def test_none_beside_others(nothing: Words) -> None:
    assert list(refused(*nothing, "fairness=[none,parity]").values()) == ["fairness=parity"]


def test_the_same_option_twice(nothing: Words) -> None:
    assert list(refused(*nothing, "fairness=[parity,parity]").values()) == ["fairness=parity"]


def test_a_preset_of_one_plugin(nothing: Words) -> None:
    composed = compose(*nothing, "fairness=strict")
    assert composed.config.fairness == {"parity": {"threshold": 0.01, "samples": 64, "mode": "mean"}}
    assert composed.choices["fairness"] == "strict"


def test_a_bundle(nothing: Words) -> None:
    composed = compose(*nothing, "fairness=everything", "fairness.parity.samples=2")
    assert keys(composed) == ["fairness.gap", "fairness.parity"]
    assert composed.config.fairness.parity == {"threshold": 0.01, "samples": 2, "mode": "mean"}
    assert composed.config.fairness.gap == {"column": "age"}


def test_a_preset_without_defaults_selects_its_plugin(nothing: Words, own_yaml: OwnYaml) -> None:
    folder = own_yaml("fairness/loose", "# @package fairness.parity\nthreshold: 1\n")
    composed = compose(*nothing, "fairness=loose", folders=(folder,))
    assert composed.config.fairness == {"parity": {"threshold": 1.0, "samples": 64, "mode": "mean"}}


@pytest.mark.parametrize("chosen", ["[parity,strict]", "[strict,parity]", "[everything,parity]", "[strict,everything]"])
def test_two_choices_that_fill_one_node(nothing: Words, chosen: str) -> None:
    found = refused(*nothing, f"fairness={chosen}")
    first, second = chosen.strip("[]").split(",")
    assert found == {f"{first} and {second} of fairness both fill fairness.parity": f"fairness={second}"}


def test_settings_typed_for_a_plugin_that_is_not_selected(nothing: Words) -> None:
    found = refused(*nothing, "fairness.parity.threshold=0.5")
    ((message, fix),) = found.items()
    assert "fairness.parity.threshold=0.5 does nothing" in message
    assert "add fairness=parity" in message
    assert fix == "fairness=parity"


def test_the_fix_keeps_what_is_selected(nothing: Words) -> None:
    found = refused(*nothing, "fairness=[gap]", "fairness.gap.column=x", "fairness.parity.threshold=0.5")
    assert list(found.values()) == ["fairness=[gap,parity]"]


def test_settings_typed_as_a_mapping(nothing: Words) -> None:
    found = refused(*nothing, "fairness={parity:{threshold:0.5}}")
    assert list(found.values()) == ["fairness=parity"]


def test_settings_of_a_file_are_dropped_with_a_note(nothing: Words, own_yaml: OwnYaml) -> None:
    folder = own_yaml("experiment/mine", "# @package _global_\nfairness:\n  parity:\n    samples: 8\n")
    composed = compose(*nothing, "experiment=mine", folders=(folder,))
    assert composed.config.fairness == {}
    (note,) = composed.notes
    assert "fairness.parity is not selected" in note
    selected = compose(*nothing, "experiment=mine", "fairness=parity", folders=(folder,))
    assert selected.config.fairness.parity.samples == 8


def test_settings_of_a_file_are_checked_before_they_are_dropped(nothing: Words, own_yaml: OwnYaml) -> None:
    folder = own_yaml("experiment/mine", "# @package _global_\nfairness:\n  parity:\n    sample: 8\n")
    found = refused(*nothing, "experiment=mine", folders=(folder,))
    assert list(found) == ["fairness.parity has no field sample; did you mean samples?"]


def test_a_file_that_misspells_a_plugin(nothing: Words, own_yaml: OwnYaml) -> None:
    folder = own_yaml("experiment/mine", "# @package _global_\nfairness:\n  party:\n    samples: 8\n")
    assert list(refused(*nothing, "experiment=mine", folders=(folder,))) == [
        "fairness has no plugin party; did you mean parity?"
    ]


def test_a_file_that_sets_what_nothing_reads(nothing: Words, own_yaml: OwnYaml) -> None:
    folder = own_yaml("experiment/mine", "# @package _global_\noptimzer:\n  lr: 1\n")
    assert refused(*nothing, "experiment=mine", folders=(folder,)) == {
        "a config file sets optimzer, which nothing reads; did you mean optimizer?": "optimizer.lr=1"
    }


def test_a_key_of_the_users_own_by_plus(nothing: Words) -> None:
    assert compose(*nothing, "+mine.width=3").config.mine.width == 3


def test_helper_values_stand_under_vars(nothing: Words) -> None:
    assert compose(*nothing, "vars.width=3").config.vars.width == 3


@pytest.mark.parametrize(
    ("word", "message", "fix"),
    [
        ("model=mpl", "model has no option mpl; did you mean mlp?", "model=mlp"),
        ("fairness=party", "fairness has no option party; did you mean parity?", "fairness=parity"),
        ("fairness=[gap,party]", "fairness has no option party; did you mean parity?", "fairness=[gap,parity]"),
        ("experiment=first_lok", "experiment has no option first_lok; did you mean first_look?", None),
        ("data=null", "data=null chooses nothing: an option of data is", None),
        ("fairnes=parity", "the config has no key fairnes; did you mean fairness?", "fairness=parity"),
        ("fairnes.parity.samples=3", "the config has no key fairnes; did you mean fairness?", None),
        (
            "optimizer.weight_decy=1",
            "optimizer has no field weight_decy; did you mean weight_decay?",
            "optimizer.weight_decay=1",
        ),
        ("optimizer.lr.x=1", "optimizer.lr has no field x", None),
        ("+model=mlp", "+model=mlp: model is in the config already, without a +", "model=mlp"),
        ("model", "model is no override: KEY=VALUE sets a value", "model=..."),
        ("model=[mlp", "model=[mlp cannot be read", None),
        ("seed=x", "seed must be an int, got 'x'", "seed=1"),
        ("seed=-1", "seed must be at least 0, got -1", "seed=0"),
        ("checkpoints=lats", "checkpoints must be one of auto, last, none, got 'lats'; did you mean last?", None),
        ("deadline=0", "deadline must be more than 0, got 0", None),
        ("hydra.run.dir=x", "hydra.run.dir=x does nothing", None),
        ("seed=0,1", "seed=0,1 has several values: a sweep needs -m, a list needs brackets", "-m seed=0,1"),
    ],
)
def test_wrong_words(nothing: Words, word: str, message: str, fix: str | None) -> None:
    ((said, pasted),) = refused(*nothing, word).items()
    assert said.startswith(message)
    assert fix is None or pasted == fix


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("fairness.parity.sampels=3", "fairness.parity has no field sampels; did you mean samples?"),
        ("fairness.parity.samples=few", "fairness.parity.samples must be an int, got 'few'"),
        ("fairness.parity.samples=0", "fairness.parity.samples must be at least 1, got 0"),
        (
            "fairness.parity.mode=wurst",
            "fairness.parity.mode must be one of mean, worst, got 'wurst'; did you mean worst?",
        ),
        ("fairness.party.samples=3", "fairness has no plugin party; did you mean parity?"),
        ("fairness.parity=3", "fairness.parity holds settings, got 3"),
    ],
)
def test_wrong_settings(nothing: Words, word: str, message: str) -> None:
    assert list(refused(*nothing, "fairness=parity", word)) == [message]


def test_all_problems_of_all_words_come_at_once(nothing: Words) -> None:
    found = refused(*nothing, "model=mpl", "fairness=party", "optimizer.rl=1")
    assert len(found) == 3
    found = refused(*nothing, "fairness=[parity,gap]", "fairness.parity.samples=0", "fairness.parity.mode=x")
    assert len(found) == 3  # and the gap's column has no default


def test_a_missing_value_says_how_to_give_it(nothing: Words) -> None:
    assert list(refused(*nothing, "fairness=gap").values()) == ["fairness.gap.column=..."]


def test_a_broken_plugin_stops_only_those_who_select_it(nothing: Words) -> None:
    compose(*nothing, "fairness=parity")
    (message,) = refused(*nothing, "fairness=broken")
    assert "RuntimeError: built for another version" in message


def test_a_missing_library_says_what_to_install(nothing: Words) -> None:
    assert list(refused(*nothing, "fairness=needy").values()) == ["pip install 'strangers[needy]'"]


def test_a_contested_name(nothing: Words) -> None:
    (message,) = refused(*nothing, "fairness=contested")
    assert "rivals" in message
    assert "strangers" in message


def test_a_file_that_asks_for_an_unknown_option(nothing: Words, own_yaml: OwnYaml) -> None:
    folder = own_yaml("experiment/mine", "# @package _global_\ndefaults:\n  - override /model: mpl\n")
    found = refused(*nothing, "experiment=mine", folders=(folder,))
    ((message, fix),) = found.items()
    assert "model has no option mpl; did you mean mlp?" in message
    assert fix == "model=mlp"


def test_a_file_that_is_no_yaml(nothing: Words, own_yaml: OwnYaml) -> None:
    folder = own_yaml("experiment/mine", "a: [1\n")
    (message,) = refused(*nothing, "experiment=mine", folders=(folder,))
    assert message.startswith("a config file is no YAML")
    assert "mine.yaml" in message


def test_a_folder_that_is_not_there(nothing: Words, tmp_path: Path) -> None:
    (message,) = refused(*nothing, folders=(tmp_path / "nowhere",))
    assert "nowhere" in message


def test_own_yaml_by_hydras_own_word(nothing: Words, own_yaml: OwnYaml) -> None:
    folder = own_yaml("model/mine", "_target_: torch.nn.Identity\n")
    assert compose(*nothing, "model=mine", f"hydra.searchpath=[file://{folder}]").choices["model"] == "mine"
    found = refused(*nothing, "model=mien", f"hydra.searchpath=[file://{folder}]")
    assert list(found.values()) == ["model=mine"]


def test_a_folder_with_spaces_and_quotes(nothing: Words, own_yaml: OwnYaml, tmp_path: Path) -> None:
    folder = own_yaml("model/mine", "_target_: torch.nn.Identity\n").rename(tmp_path / "it's mine")
    assert compose(*nothing, "model=mine", folders=(folder,)).choices["model"] == "mine"


def test_an_experiment_may_choose_and_set(nothing: Words) -> None:
    composed = compose(*nothing, "experiment=fair")
    assert composed.choices["fairness"] == "parity"
    assert composed.config.fairness.parity.samples == 8
    assert compose(*nothing, "experiment=fair", "fairness.parity.samples=9").config.fairness.parity.samples == 9
    assert compose(*nothing, "experiment=fair", "fairness=none").notes


def test_an_experiment_may_be_a_sweep(nothing: Words) -> None:
    assert compose(*nothing, "experiment=fair_or_not").wants_sweep
    assert not compose(*nothing).wants_sweep


def test_requirements_need_no_plus(nothing: Words) -> None:
    assert compose(*nothing, "require.fairness.parity.gap.max=0.1").config.require.fairness.parity.gap.max == 0.1


def test_a_single_run_keeps_its_last_checkpoint(nothing: Words) -> None:
    assert compose(*nothing).config.checkpoints == "last"
    assert compose(*nothing, "checkpoints=none").config.checkpoints == "none"


def test_hydras_values_and_environment_reach_the_run(nothing: Words, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FOR_THE_RUN", raising=False)
    composed = compose(*nothing, "vars.chosen=${hydra:runtime.choices.model}", "+hydra.job.env_set.FOR_THE_RUN=1")
    with known_to_hydra(composed):
        assert composed.config.vars.chosen == "mlp"
        assert os.environ["FOR_THE_RUN"] == "1"
    assert "FOR_THE_RUN" not in os.environ


def test_hydra_of_the_process_is_left_as_it_was(nothing: Words) -> None:
    import hydra
    from hydra.core.global_hydra import GlobalHydra

    with hydra.initialize_config_module("steelyard_conf", version_base="1.3"):
        before = GlobalHydra.instance().hydra
        compose(*nothing)
        assert GlobalHydra.instance().hydra is not None
        assert type(GlobalHydra.instance().hydra) is type(before)
        with pytest.raises(Refused):
            compose(*nothing, "model=mpl")
        assert GlobalHydra.instance().is_initialized()


def test_plugins_of_finds_every_problem_of_a_stored_config(strangers: Path) -> None:
    stored = OmegaConf.create({"fairness": {"parity": {"samples": 0}, "party": {}, "needy": {}}, "seed": 0})
    with pytest.raises(Refused) as caught:
        plugins_of(stored)
    assert len(caught.value.problems) == 3


@pytest.mark.parametrize(
    ("word", "message", "fix"),
    [
        (
            "seed=${fairness.parity.samples}",
            "seed refers to fairness.parity.samples, and fairness.parity is not selected",
            "fairness=parity",
        ),
        ("seed=${data.nothing}", "seed refers to data.nothing, which is not there", ""),
        ("+data.names=[a,x${task.nothing}]", "data.names[1] refers to task.nothing, which is not there", ""),
    ],
)
def test_a_reference_to_what_is_not_there_is_refused(nothing: Words, word: str, message: str, fix: str) -> None:
    assert refused(*nothing, word) == {message: fix}
    composed = compose(*nothing, "fairness=parity", "seed=${fairness.parity.samples}")
    assert composed.config.seed == 64
    other = refused(*nothing, "fairness=parity", "seed=${fairness.parity.sample}")
    assert other == {"seed refers to fairness.parity.sample, which is not there": ""}
