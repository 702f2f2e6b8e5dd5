"""The conformance suite can fail: every check has a plugin that fails it, and it alone."""

from typing import Any
from unittest import SkipTest

import pytest

from helpers import broken, broken_alone, broken_heavy
from steelyard import registry, testing
from steelyard.measurement import Measurement, Picture, Table
from steelyard.plugin import Plugin
from steelyard.problem import Refused
from steelyard.testing import PluginSuite, command
from steelyard.testing._declaring import DeclarationChecks
from steelyard.testing._items import faults, unshowable

CHECKS = [
    name for base in reversed(PluginSuite.__mro__) for name in vars(base) if name.startswith("test_")
]  # in the order in which pytest runs them

DECLARATIONS: dict[str, tuple[Plugin, str, str]] = {
    "undecorated": (broken.Undecorated(), "test_is_a_frozen_keyword_only_dataclass", "@dataclass(frozen=True"),
    "positional": (broken.Positional(), "test_is_a_frozen_keyword_only_dataclass", "share is positional"),
    "list": (broken.ListField(), "test_fields_have_types_that_a_config_can_hold", "levels: list[float]"),
    "log": (broken.Logging(), "test_no_field_is_called_log", "log"),
    "no meaning": (broken.Unexplained(), "test_every_field_says_what_it_means", "share"),
    "no docstring": (broken.Undescribed(), "test_every_field_says_what_it_means", "docstring"),
    "heavy": (broken_heavy.Heavy(), "test_declaring_imports_nothing_heavy", "torch"),
    "not alone": (broken_alone.Dependent(), "test_declaring_imports_nothing_heavy", "not without pytest"),
    "wrong value": (broken.TupleField(levels=[0.5]), "test_survives_the_config", "levels: [0.5] became (0.5,)"),  # type: ignore
    "wrong default": (broken.WrongDefault(share=1.0), "test_survives_the_config", "share must be at least 0"),
    "incomparable": (broken.Incomparable(), "test_equal_settings_make_equal_plugins", "__eq__"),
    "no hash": (broken.Unhashed(), "test_equal_plugins_have_equal_hashes", "it has no hash"),
    "other hash": (broken.Rehashed(), "test_equal_plugins_have_equal_hashes", "hash differently"),
    "no pickle": (broken.Unpicklable(), "test_can_be_pickled", "cannot be pickled"),
}  # fmt: skip

LIVE = {
    "preflight_says_text": ("test_preflight_gives_problems", "'no'"),
    "preflight_says_nothing": ("test_preflight_gives_problems", "what is wrong and where"),
    "preflight_refuses": ("test_preflight_accepts_the_suite", "it has layers"),
    "preflight_draws": ("test_preflight_changes_nothing", "random stream of torch"),
    "preflight_sets": ("test_preflight_changes_nothing", "trainer.log_every_n_steps"),
    "preflight_reads_values": ("test_preflight_reads_a_draft_without_weights", "types and shapes only"),
    "attach_gives_nothing": ("test_attach_gives_an_attachment", "None"),
    "attach_changes": ("test_attach_changes_only_what_it_claims", "trainer.max_epochs"),
    "attach_shares": ("test_attach_makes_a_new_attachment_for_every_run", "share one attachment"),
    "attach_draws": ("test_attach_draws_no_global_randomness", "random stream of torch"),
    "training_fails": ("test_trains", "cannot train"),
    "training_draws_torch": ("test_without_a_claim_training_is_the_same_to_the_bit", "the weights and buffers"),
    "training_draws_numpy": ("test_without_a_claim_training_is_the_same_to_the_bit", "random stream of NumPy"),
    "training_draws_python": ("test_without_a_claim_training_is_the_same_to_the_bit", "random stream of Python"),
    "training_scales": ("test_without_a_claim_training_is_the_same_to_the_bit", "the weights and buffers"),
    "hook_stays": ("test_training_leaves_nothing_behind", "hooks on layers: the task itself"),
    "step_stays_wrapped": ("test_training_leaves_nothing_behind", "attributes on layers: the task itself"),
    "loader_stays_wrapped": ("test_training_leaves_nothing_behind", "attributes of the data module"),
    "flag_stays": ("test_training_leaves_nothing_behind", "train and eval flags: model"),
    "weight_stays_frozen": ("test_training_leaves_nothing_behind", "which weights are trained: model"),
    "attribute_stays": ("test_training_leaves_nothing_behind", "attributes of weights: model"),
    "setting_stays": ("test_training_leaves_nothing_behind", "floating-point errors"),
    "hook_stays_after_exception": ("test_an_exception_leaves_nothing_behind", "hooks on layers"),
    "state_is_opaque": ("test_state_is_plain", "Opaque"),
    "state_is_lost": ("test_state_comes_back", "state['steps']"),
    "state_is_opaque_in_training": ("test_resume_goes_on_with_the_state", "cannot be read"),
    "state_key_moves": ("test_resume_goes_on_with_the_state", "state_key"),
    "resume_fails": ("test_resume_goes_on_with_the_state", "cannot train"),
    "measure_fails": ("test_measures", "cannot measure"),
    "measure_says_text": ("test_measures", "'0.5'"),
    "measure_says_a_sentence": ("test_names_are_words_and_unique", "'Half of it'"),
    "measure_says_twice": ("test_names_are_words_and_unique", "half"),
    "measure_says_array": ("test_numbers_are_plain_and_in_range", "float32"),
    "measure_draws_noise": ("test_artefacts_can_be_shown", "png cannot be decoded"),
    "measure_draws_unseen": ("test_artefacts_can_be_shown", "alt"),
    "measure_says_an_object": ("test_the_scorecard_holds_what_it_says", "Opaque"),
    "measure_leaves_hook": ("test_measure_leaves_the_run_as_it_was", "hooks on layers: the task itself"),
    "measure_leaves_grad": ("test_measure_leaves_the_run_as_it_was", "gradients (.grad): model"),
    "measure_leaves_weight": ("test_measure_leaves_the_run_as_it_was", "the weights of the task: model"),
    "measure_leaves_buffer": ("test_measure_leaves_the_run_as_it_was", "the weights of the task: model"),
    "measure_leaves_flag": ("test_measure_leaves_the_run_as_it_was", "train and eval flags"),
    "measure_leaves_frozen": ("test_measure_leaves_the_run_as_it_was", "which weights are trained: model"),
    "measure_leaves_override": ("test_measure_leaves_the_run_as_it_was", "attributes on layers: the task itself"),
    "measure_leaves_attribute": ("test_measure_leaves_the_run_as_it_was", "attributes of the data module"),
    "measure_draws_torch": ("test_measure_leaves_the_run_as_it_was", "random stream of torch"),
    "measure_draws_numpy": ("test_measure_leaves_the_run_as_it_was", "random stream of NumPy"),
    "measure_draws_python": ("test_measure_leaves_the_run_as_it_was", "random stream of Python"),
    "measure_leaves_setting": ("test_measure_leaves_the_run_as_it_was", "matmul precision"),
    "measure_trusts_its_listener": ("test_measure_stopped_early_leaves_the_run_as_it_was", "hooks on layers"),
    "measure_trusts_the_model": ("test_measure_of_a_failing_model_leaves_the_run_as_it_was", "hooks on layers"),
    "measure_says_more_each_time": ("test_measuring_twice_gives_the_same", "half"),
    "measure_fails_untrained": ("test_weighing_without_training_raises_nothing", "run.trained is False"),
    "measure_fails_late": ("test_a_deadline_that_has_passed_raises_nothing", "too late"),
}


def outcomes(plugin: Plugin, *checks: str) -> dict[str, BaseException]:
    """Check -> how it ended, for every check that did not just pass."""
    suite = type("TestSubject", (PluginSuite,), {"plugin": plugin})
    ended: dict[str, BaseException] = {}
    for check in checks or CHECKS:
        try:
            getattr(suite(), check)()
        except Exception as error:
            ended[check] = error
    return ended


def failures(plugin: Plugin, *checks: str) -> dict[str, str]:
    ended = outcomes(plugin, *checks)
    return {check: str(end) for check, end in ended.items() if not isinstance(end, SkipTest)}


@pytest.mark.parametrize("plugin", [broken.Subject(), broken.TupleField(levels=(0.5,))])
def test_a_sound_plugin_passes_every_check(plugin: Plugin) -> None:
    assert outcomes(plugin) == {}


def test_fields_of_every_allowed_type_pass() -> None:
    ended = outcomes(broken.Rich())
    assert list(ended) == ["test_equal_plugins_have_equal_hashes"]
    assert "no hash, such as a dict" in str(ended["test_equal_plugins_have_equal_hashes"])


def test_a_claimed_change_of_training_passes() -> None:
    ended = outcomes(broken.Changing(defect="training_scales"))
    assert list(ended) == ["test_without_a_claim_training_is_the_same_to_the_bit"]
    assert "it claims gradients" in str(ended["test_without_a_claim_training_is_the_same_to_the_bit"])


@pytest.mark.parametrize("name", DECLARATIONS)
def test_a_broken_declaration_fails_one_check(name: str) -> None:
    plugin, check, word = DECLARATIONS[name]
    failed = failures(plugin, *(name for name in CHECKS if hasattr(DeclarationChecks, name)))
    assert list(failed) == [check]
    assert word in failed[check]


@pytest.mark.parametrize("defect", LIVE)
def test_a_broken_live_half_fails_its_check(defect: str) -> None:
    check, word = LIVE[defect]
    failed = failures(broken.Subject(defect=defect), check)
    assert word in failed[check]


@pytest.mark.slow
@pytest.mark.parametrize("defect", LIVE)
def test_a_broken_live_half_fails_no_other_check(defect: str) -> None:
    check, _ = LIVE[defect]
    assert list(failures(broken.Subject(defect=defect))) == [check]


def test_every_check_has_a_plugin_that_fails_it() -> None:
    proved = {check for check, _ in LIVE.values()} | {check for _, check, _ in DECLARATIONS.values()}
    assert proved == set(CHECKS)


def test_skipped_checks_name_the_one_that_failed() -> None:
    ended = outcomes(broken.Subject(defect="training_fails"))
    skipped = {str(end) for end in ended.values() if isinstance(end, SkipTest)}
    assert skipped
    assert all("test_trains" in reason for reason in skipped)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"value": True}, "write float(...)"),
        ({"interval": (0.0, float("inf"))}, "infinite"),
        ({"level": 95.0}, "between 0 and 1"),
        ({"count": 0}, "what nobody looked at is skipped"),
        ({"at": {"level": None}}, "at level is a NoneType"),
        ({"split": "training"}, "one of train, val, test"),
        ({"bounds": "epsilon"}, "full name"),
    ],
)
def test_numbers_that_cannot_be_judged_are_named(changes: dict[str, Any], word: str) -> None:
    (said,) = faults(Measurement(**{"name": "half", "value": 0.5, **changes}))
    assert word in said


def test_artefacts_that_cannot_be_shown_are_named() -> None:
    table = Table(name="rows", title=" ", columns=["a"], rows=[[b"x"]], split="training")
    assert len(list(unshowable(table))) == 3
    picture = Picture(name="dots", title="Dots", png=b"", alt=" ")
    assert len(list(unshowable(picture))) == 2


@pytest.mark.parametrize(
    ("target", "word"),
    [
        ("helpers.broken", "not of the form"),
        ("helpers.nowhere:Subject", "does not import"),
        ("helpers.broken:Nowhere", "does not import"),
        ("helpers.broken:Colour", "no subclass"),
        ("steelyard.plugin:Plugin", "default settings"),
    ],
)
def test_check_refuses_what_is_no_declaration(target: str, word: str) -> None:
    with pytest.raises(Refused, match=word):
        testing.check(target)


def test_check_says_that_pytest_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "find_spec", lambda _: None)
    with pytest.raises(Refused, match="pip install pytest"):
        testing.check("helpers.broken:Subject")


def test_the_key_comes_from_the_entry_point() -> None:
    ours = next(entry for entry in registry.entries() if entry.distribution == "steelyard")
    suite = type("TestOurs", (PluginSuite,), {"plugin": registry.load(ours.key)()})
    assert suite()._key() == ours.key
    assert type("TestSubject", (PluginSuite,), {"plugin": broken.Subject()})()._key() == "test.plugin"
