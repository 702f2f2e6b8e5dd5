"""Setting up a job's logging in a fresh fork, as Hydra's `configure_log`, without its walk over all loggers.

`logging.config` marks every logger that exists as enabled and makes it forget what it knew of levels. Heavy libraries
come with hundreds of them, and in a fork each of these writes copies a page. Where all are enabled and the root's level
stays, the walk would change nothing; then the loggers are out of its sight. They lie in `Logger.manager.loggerDict`,
which Python does not document (seen on 3.11).
"""

import logging
import logging.config
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any, cast

from hydra.core.utils import configure_log
from omegaconf import DictConfig, OmegaConf

_PLAIN = {"logging.StreamHandler", "logging.FileHandler", "logging.NullHandler"}
_known: list[bool] = []
"""Whether all loggers are enabled, where somebody has asked for a while."""
_PARTS = {"version", "formatters", "handlers", "root", "disable_existing_loggers"}


@contextmanager
def loggers_known() -> Generator[None]:
    """Asks all loggers once whether they are enabled, for the forks of this process: in each it copies 300 pages."""
    _known.append(_all_enabled())
    try:
        yield
    finally:
        _known.pop()


def _all_enabled() -> bool:
    loggers: list[Any] = list(logging.root.manager.loggerDict.values())
    return not any(getattr(one, "disabled", False) for one in loggers)


def walk_is_idle(logs: Any, *, verbose: Any) -> bool:
    """True if setting up these logs would change no logger but the root.

    Args:
        logs: What `logging.config` gets, plain; None for Hydra's default.
        verbose: `hydra.verbose`.
    """
    if not isinstance(logs, dict) or verbose is not False:
        return False
    known = cast("dict[str, Any]", logs)
    root, handlers, formatters = (
        cast("dict[str, Any]", known.get(part) or {}) for part in ("root", "handlers", "formatters")
    )
    return (
        set(known) <= _PARTS
        and known.get("disable_existing_loggers") is False
        and logging.getLevelName(logging.root.level) == root.get("level")
        # Classes of others may ask for loggers of their own.
        and all(one.get("class") in _PLAIN for one in handlers.values())
        and all(not {"()", "class"} & set(one) for one in formatters.values())
        and (_known[-1] if _known else _all_enabled())
    )


def set_up(logs: Mapping[str, Any] | None, *, verbose: Any, idle: bool) -> None:
    """As `configure_log`.

    Args:
        logs: How the job logs, plain; None for Hydra's default.
        verbose: `hydra.verbose`.
        idle: What `walk_is_idle` said before the fork.
    """
    if not idle:
        configure_log(cast("DictConfig", None if logs is None else OmegaConf.create(dict(logs))), verbose)
        return
    manager = logging.root.manager
    known = manager.loggerDict
    manager.loggerDict = {}
    try:
        logging.config.dictConfig(dict(cast("Mapping[str, Any]", logs)))
    finally:
        manager.loggerDict = known
