"""From the words of the shell to a verb, and from what happened to an exit code."""

import atexit
import contextlib
import gc
import os
import sys
import traceback
from collections.abc import Sequence
from enum import IntEnum
from importlib import import_module

from steelyard import short_memory
from steelyard.cli._anew import start_anew
from steelyard.cli._verbs import VERBS, overview
from steelyard.problem import Refused

ASKS = frozenset({"-h", "--help", "--cfg"})
"""Words with which a verb answers at once; not `-c`, by which `lightning` means a file."""


class Exit(IntEnum):
    """Exit codes; 1 comes from a scorecard whose requirements are not met."""

    DONE = 0
    REFUSED = 2
    FAILED = 3
    INTERRUPTED = 130
    TERMINATED = 143


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one verb.

    Args:
        arguments: The words behind `steelyard`; by default those of this process.

    Returns:
        0 done and all requirements met; 1 a requirement not met; 2 refused before training; 3 failed;
        130 interrupted; 143 terminated. A sweep returns the highest of its trials.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if arguments is None and words and words[0] in VERBS and VERBS[words[0]].heavy and not ASKS & {*words}:
        start_anew()
    # Nobody waits for the garbage of a process that ends: to look through all of torch once more took it a second.
    atexit.register(gc.freeze)
    try:
        return _dispatch(words)
    except BrokenPipeError:
        # The reader, e.g. `head`, has seen enough; what is still buffered goes nowhere.
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.DONE
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else Exit.DONE
    except BaseException as error:
        return explain(error)


def explain(error: BaseException, *, folder: str | None = None) -> int:
    """Says on stderr what became of a run that did not end well, and gives its exit code.

    Args:
        error: What it raised.
        folder: Its run folder, if it got so far.
    """
    if isinstance(error, Refused):
        _print_problems(error)
        return Exit.REFUSED
    if isinstance(error, KeyboardInterrupt):
        _say(f"interrupted{_go_on(folder)}")
        return Exit.INTERRUPTED
    if _is_terminated(error):
        _say(f"terminated{_go_on(folder)}")
        return Exit.TERMINATED
    if not isinstance(error, Exception):
        raise error
    reason = " ".join(str(error).split()) or "no message"
    _say(f"failed: {type(error).__name__}: {reason}")
    if short_memory.ran_out(error):
        _say(f"memory ran out: {short_memory.FIX}")
    if folder is None:
        traceback.print_exception(error)
    else:
        _say(f"the traceback is in {folder}/traceback.txt")
    return Exit.FAILED


def _dispatch(words: list[str]) -> int:
    verb, *rest = words or ["--help"]
    if verb in ("-h", "--help", "help"):
        sys.stdout.write(overview())
        return Exit.DONE
    if verb in ("-V", "--version"):
        from importlib.metadata import version

        sys.stdout.write(f"steelyard {version('steelyard')}\n")
        return Exit.DONE
    if verb not in VERBS:
        from steelyard.registry import did_you_mean

        _say(f"there is no verb {verb}{did_you_mean(verb, VERBS)}")
        _say("steelyard --help lists them")
        return Exit.REFUSED
    return import_module(f"steelyard.cli.{VERBS[verb].module}").main(verb, rest)


def _print_problems(refused: Refused) -> None:
    from steelyard.report.terminal import print_problems, terminal

    print_problems(refused.problems, console=terminal(stderr=True))


def _go_on(folder: str | None) -> str:
    return f"; go on with: steelyard resume {folder}" if folder else ""


def _is_terminated(error: BaseException) -> bool:
    # Without the module nothing can have raised it, and importing it here would import torch.
    module = sys.modules.get("steelyard.stopping")
    return module is not None and isinstance(error, module.Terminated)


def _say(line: str) -> None:
    sys.stderr.write(f"steelyard: {line}\n")
