from importlib import metadata
from pathlib import Path

import pytest

from steelyard import registry
from steelyard.problem import Refused
from steelyard.registry import CONF, PLUGINS


def test_a_stranger_founds_a_challenge(strangers: Path) -> None:
    assert "parity" in registry.challenges()["fairness"]
    assert "strangers_conf" in registry.conf_packages()
    assert registry.load("fairness.parity").__name__ == "Parity"


def test_the_registry_reads_what_importlib_reads() -> None:
    points = metadata.entry_points(group=PLUGINS)
    assert {(entry.key, entry.target) for entry in registry.entries()} == {
        (point.name, point.value) for point in points
    }
    assert set(registry.conf_packages()) == {point.value for point in metadata.entry_points(group=CONF)}


def test_a_broken_plugin_is_refused_with_its_error(strangers: Path) -> None:
    with pytest.raises(Refused, match=r"fairness\.broken of strangers .*RuntimeError: built for another version"):
        registry.load("fairness.broken")


def test_what_is_no_plugin_is_refused(strangers: Path) -> None:
    with pytest.raises(Refused, match=r"no subclass of steelyard\.Plugin"):
        registry.load("fairness.thing")


def test_two_owners_of_a_name_are_both_named(strangers: Path) -> None:
    with pytest.raises(Refused, match=r"fairness\.contested is claimed by rivals .* and strangers"):
        registry.load("fairness.contested")


def test_a_missing_library_names_what_to_install(strangers: Path) -> None:
    (problem,) = registry.missing(registry.load("fairness.needy"), key="fairness.needy")
    assert "no_such_library" in problem.message
    assert problem.fix == "pip install 'strangers[needy]'"


def test_an_unknown_plugin_gets_the_nearest_name(strangers: Path) -> None:
    with pytest.raises(Refused, match=r"did you mean fairness\.parity\?"):
        registry.load("fairness.party")


@pytest.mark.parametrize("key", ["fairness", "Fairness.parity", "fairness.none", "fairness.a-b", "a.b.c", ".x", "x."])
def test_names_that_are_none(key: str) -> None:
    assert not registry.is_well_formed(key)


def test_a_malformed_name_founds_nothing(strangers: Path) -> None:
    assert "Fairness" not in registry.challenges()


def test_of_two_copies_the_first_on_the_path_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder, target in (("first", "one:A"), ("second", "two:B")):
        info = tmp_path / folder / "copied-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "entry_points.txt").write_text(f"[{PLUGINS}]\nfairness.copied = {target}\n")
    monkeypatch.syspath_prepend(tmp_path / "second")
    monkeypatch.syspath_prepend(tmp_path / "first")
    assert [entry.target for entry in registry.entries() if entry.name == "copied"] == ["one:A"]
