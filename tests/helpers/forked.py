"""A process that has imported everything already: a copy of the test's own, seconds cheaper than a fresh one."""

import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any


def in_a_fork(work: Callable[[], Any]) -> Any:
    """What a copy of this process works out, in words of JSON."""
    mine, theirs = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            with os.fdopen(theirs, "w") as file:
                json.dump(work(), file)
        finally:
            os._exit(0)
    os.close(theirs)
    with os.fdopen(mine) as file:
        text = file.read()
    os.waitpid(pid, 0)
    return json.loads(text)


def say_much(send: Callable[[Any], None]) -> int:
    """The work of a trial that has a lot to say, numbered."""
    for number in range(500):
        send({"number": number, "much": b"x" * 1000})
    return 0


class Forked:
    """A child of this process that runs `act` and ends with what it returns as its exit code.

    What it says goes to `out.txt` and `err.txt` in the working folder.
    """

    def __init__(self, act: Callable[[], int]) -> None:
        self._place = Path.cwd()
        self.returncode: int | None = None
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if not self.pid:
            self._live(act)

    def _live(self, act: Callable[[], int]) -> None:
        code = 70
        try:
            # A test run in the background of a shell ignores Ctrl-C.
            signal.signal(signal.SIGINT, signal.default_int_handler)
            sys.stdout = (self._place / "out.txt").open("w", buffering=1)
            sys.stderr = (self._place / "err.txt").open("w", buffering=1)
            code = act()
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)

    def poll(self) -> int | None:
        """The exit code, minus the signal for a killed one; None while it runs."""
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def await_(self, ready: Callable[[], bool], seconds: float = 120) -> None:
        """Waits until `ready`; fails where the process ends before."""
        deadline = time.monotonic() + seconds
        while not ready():
            assert self.poll() is None, self.err()
            assert time.monotonic() < deadline, self.err()
            time.sleep(0.02)

    def end(self, seconds: float = 60) -> str:
        """Waits for its end; what it wrote to stderr."""
        deadline = time.monotonic() + seconds
        while self.poll() is None:
            assert time.monotonic() < deadline, self.err()
            time.sleep(0.02)
        return self.err()

    def err(self) -> str:
        return (self._place / "err.txt").read_text()
