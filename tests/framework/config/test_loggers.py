"""A job's logging, set up as Hydra does but past the loggers that it would not change."""

import logging
from collections.abc import Callable
from typing import Any

import pytest
from hydra.core.utils import configure_log
from omegaconf import OmegaConf

from helpers.forked import in_a_fork
from steelyard.composing._loggers import loggers_known, set_up, walk_is_idle

PLAIN = {
    "version": 1,
    "formatters": {"simple": {"format": "%(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "simple", "stream": "ext://sys.stderr"}},
    "root": {"handlers": ["console"], "level": "WARNING"},
    "disable_existing_loggers": False,
}
HANDLER = {"class": "logging.handlers.MemoryHandler", "capacity": 1}


def state() -> dict[str, Any]:
    """Of all loggers, also what those think they know of levels."""
    known = {name: one for name, one in logging.root.manager.loggerDict.items() if isinstance(one, logging.Logger)}
    return {
        name: [
            one.disabled,
            one.level,
            [one.isEnabledFor(level) for level in (10, 20, 30)],
            list(map(str, one.handlers)),
        ]
        for name, one in {**known, "": logging.root}.items()
    }


def after(work: Callable[[], object]) -> dict[str, Any]:
    """The state after some work, in a process of its own."""

    def told() -> dict[str, Any]:
        work()
        return state()

    return in_a_fork(told)


@pytest.mark.parametrize(
    ("changed", "verbose", "idle"),
    [
        ({}, False, True),
        ({}, True, False),
        ({}, "steelyard.test.a", False),
        ({"root": {"level": "DEBUG", "handlers": ["console"]}}, False, False),
        ({"loggers": {"steelyard.test": {"level": "INFO"}}}, False, False),
        ({"disable_existing_loggers": True}, False, False),
        ({"handlers": {"console": HANDLER}}, False, False),
        ({"root": None}, False, False),
    ],
)
def test_every_logger_is_as_hydra_leaves_it(
    changed: dict[str, Any], verbose: Any, idle: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.root, "level", logging.WARNING)
    for one in logging.root.manager.loggerDict.values():
        if getattr(one, "disabled", False):  # some library or another test may have done so
            monkeypatch.setattr(one, "disabled", False)
    # Some that were asked before: they remember the answer.
    for name in ("steelyard.test", "steelyard.test.a"):
        logging.getLogger(name).isEnabledFor(logging.INFO)
    logs = PLAIN | changed
    assert walk_is_idle(logs, verbose=verbose) is idle
    expected = after(lambda: configure_log(OmegaConf.create(logs), verbose))
    assert expected[""][3] or not logs["root"]
    assert after(lambda: set_up(logs, verbose=verbose, idle=idle)) == expected


def test_a_logger_that_is_off_is_put_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.root, "level", logging.WARNING)
    off = logging.getLogger("steelyard.test.off")
    monkeypatch.setattr(off, "disabled", True)
    assert not walk_is_idle(PLAIN, verbose=False)
    found = after(lambda: set_up(PLAIN, verbose=False, idle=False))
    assert found["steelyard.test.off"][0] is False


def test_the_loggers_are_asked_once_for_many_forks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.root, "level", logging.WARNING)
    for one in logging.root.manager.loggerDict.values():
        if getattr(one, "disabled", False):
            monkeypatch.setattr(one, "disabled", False)
    off = logging.getLogger("steelyard.test.off")
    with loggers_known():
        monkeypatch.setattr(off, "disabled", True)
        assert walk_is_idle(PLAIN, verbose=False)
        with loggers_known():
            assert not walk_is_idle(PLAIN, verbose=False)
    assert not walk_is_idle(PLAIN, verbose=False)


def test_hydras_own_default_is_left_to_hydra() -> None:
    assert not walk_is_idle(None, verbose=False)
