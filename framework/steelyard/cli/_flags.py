"""The flags of run, weigh and plan: Hydra's words where Hydra has one."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Flags:
    """What stands beside the overrides.

    Attributes:
        words: The overrides.
        help: Print the help.
        multirun: Sweep over every combination.
        cfg: Print the config instead: job, hydra or all.
        resolve: With `cfg`: interpolations followed.
        package: With `cfg`: only this node.
        info: Hydra's own information of that kind.
        folders: With YAML of the user's own.
    """

    words: tuple[str, ...]
    help: bool
    multirun: bool
    cfg: str | None
    resolve: bool
    package: str | None
    info: str | None
    folders: tuple[Path, ...]

    @property
    def looks(self) -> bool:
        """True where something is printed in place of a run."""
        return bool(self.cfg or self.info)


def parser(verb: str) -> argparse.ArgumentParser:
    """The parser of one verb."""
    made = argparse.ArgumentParser(f"steelyard {verb}", add_help=False, allow_abbrev=False)
    made.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="change the config; a group takes an option")
    made.add_argument("-h", "--help", action="store_true", help="flags, groups, and the settings of what is selected")
    made.add_argument("-m", "--multirun", action="store_true", help="sweep: run every combination of a=1,2 b=3,4")
    made.add_argument("-c", "--cfg", choices=["job", "hydra", "all"], help="print the config instead of running")
    made.add_argument("--resolve", action="store_true", help="with --cfg: follow interpolations")
    made.add_argument("-p", "--package", metavar="NODE", help="with --cfg: only this node")
    made.add_argument(
        "-cd", "--config-dir", metavar="DIR", type=Path, action="append", default=[], help="a folder of your own YAML"
    )
    made.add_argument(
        "-i",
        "--info",
        nargs="?",
        const="all",
        choices=["all", "config", "defaults", "defaults-tree", "plugins", "searchpath"],
        help="how Hydra came to the config",
    )
    return made


def parse(verb: str, words: Sequence[str]) -> Flags:
    """Reads the words behind a verb; a wrong flag ends with exit code 2."""
    found = parser(verb).parse_intermixed_args(list(words))
    return Flags(
        words=tuple(found.overrides),
        help=found.help,
        multirun=found.multirun,
        cfg=found.cfg,
        resolve=found.resolve,
        package=found.package,
        info=found.info,
        folders=tuple(found.config_dir),
    )
