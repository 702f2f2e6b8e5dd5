"""CPU time of the command line as a multiple of `python -c "import hydra"`, with 40 plugins and 14 groups installed.

    python benchmarks/start_up.py [REPEATS]

User and system time of child processes, interleaved so that a busy machine hits all of them alike; medians. The limits
are goals, checked by a reader: the tests only check that neither torch nor numpy is imported.
"""

import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

CHALLENGES = ("compute", "privacy", "interpretability", "stability", "fairness", "provenance", "safety", "licensing")
LIMITS = {"--help": 1.0, "plugins list": 1.0, "run --cfg job": 2.2, "a config error": 3.0, "run --help": 4.0}
PLUGIN = '''"""A plugin like any other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from steelyard import Option, Plugin

if TYPE_CHECKING:
    from steelyard import Attachment, Draft


@dataclass(frozen=True, kw_only=True)
class Fake(Plugin):
    """Weighs nothing."""

    strength: Annotated[float, Option("how much", ge=0)] = 1.0
    samples: Annotated[int, Option("how many", ge=1)] = 64

    def attach(self, draft: Draft) -> Attachment:
        raise NotImplementedError
'''


def install(folder: Path, *, installed: int) -> None:
    """Fake distributions, so that `installed` plugins become 40, in 8 challenges beside the 6 other groups."""
    for at in range(40 - installed):
        challenge = CHALLENGES[at % len(CHALLENGES)]
        module, info = folder / f"fake_{at}.py", folder / f"fake_{at}-1.0.dist-info"
        module.write_text(PLUGIN)
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: fake-{at}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[steelyard.plugins]\n{challenge}.fake_{at} = fake_{at}:Fake\n")


def cpu_seconds(command: list[str], environment: dict[str, str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, env=environment, capture_output=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main(repeats: int) -> None:
    from steelyard import registry

    steelyard = [sys.executable, "-c", "import sys; from steelyard.cli import main; sys.exit(main())"]
    commands = {
        "import hydra": [sys.executable, "-c", "import hydra"],
        "--help": [*steelyard, "--help"],
        "plugins list": [*steelyard, "plugins", "list"],
        "run --cfg job": [*steelyard, "run", "--cfg", "job"],
        "a config error": [*steelyard, "run", "model.hiden=3"],
        "run --help": [*steelyard, "run", "--help"],
    }
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        install(folder, installed=len(registry.entries()))
        environment = {**os.environ, "PYTHONPATH": scratch}
        for command in commands.values():
            cpu_seconds(command, environment)  # writes the byte code
        seconds: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(repeats):
            for name, command in commands.items():
                seconds[name].append(cpu_seconds(command, environment))
    base = statistics.median(seconds["import hydra"])
    for name, values in seconds.items():
        ratio = statistics.median(values) / base
        limit = f"goal {LIMITS[name]:.1f}" if name in LIMITS else ""
        print(f"{name:>16}  {statistics.median(values) * 1000:6.0f} ms CPU  {ratio:5.2f}  {limit}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 7)
