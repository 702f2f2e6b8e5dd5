"""Runs that a plugin asks for become one sweep."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest

from steelyard.cli._siblings import siblings
from steelyard.composing import compose
from steelyard.problem import Refused
from steelyard_stability import Seeds


def test_one_word_trains_all_siblings() -> None:
    words = siblings(compose("stability=seeds", "stability.seeds.count=3", "seed=4"))

    assert words == ("stability=seeds", "stability.seeds.count=3", "seed=4,5,6")


def test_a_run_without_siblings_stays_one_run() -> None:
    assert siblings(compose("stability=noise")) == ()


def test_siblings_that_no_sweep_makes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def trials(self: Seeds, config: Mapping[str, Any]) -> Iterator[Sequence[str]]:
        yield ("seed=1", "data.split_seed=1")

    monkeypatch.setattr(Seeds, "trials", trials)
    with pytest.raises(Refused, match="several settings"):
        siblings(compose("stability=seeds"))
