"""`steelyard resume`, `report`, `compare` and `status`: what is done with folders; composes nothing."""

import argparse
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from steelyard.cli import _console
from steelyard.cli._main import Exit, explain
from steelyard.cli._verbs import VERBS
from steelyard.problem import refuse


def parser(verb: str) -> argparse.ArgumentParser:
    """The parser of one of these verbs."""
    made = argparse.ArgumentParser(f"steelyard {verb}", description=VERBS[verb].help, allow_abbrev=False)
    if verb == "compare":
        made.add_argument("folders", nargs="+", type=Path, metavar="DIR", help="run folders, or one sweep folder")
        made.add_argument("--to", type=Path, default=Path(), metavar="DIR", help="where compare.html is written")
    else:
        made.add_argument(
            "folder",
            type=Path,
            metavar="DIR",
            help="a run folder; for report also a sweep" if verb == "report" else "a run folder",
        )
    if verb == "report":
        made.add_argument("--public", action="store_true", help="leave out what the privacy budget does not cover")
    return made


def main(verb: str, words: Sequence[str]) -> int:
    """Runs the verb and gives the exit code."""
    found = parser(verb).parse_args(list(words))
    folders: list[Path] = found.folders if verb == "compare" else [found.folder]
    for folder in folders:
        if not folder.is_dir():
            raise refuse(f"there is no folder {folder}", fix="ls outputs")
    match verb:
        case "resume":
            return _resume(folders[0])
        case "report":
            return _report(folders[0], public=found.public)
        case "compare":
            return _compare(folders, to=found.to)
        case _:
            return _status(folders[0])


def _resume(folder: Path) -> int:
    from steelyard import experiment

    try:
        scorecard = experiment.resume(folder)
    except BaseException as error:
        return explain(error, folder=str(folder))
    _console.print_scorecard(scorecard)
    _console.say(f"{folder}/report.html")
    return scorecard.exit_code


def _report(folder: Path, *, public: bool) -> int:
    from steelyard import report, sweep

    try:
        if (folder / "status.json").exists():
            page = report.render(folder, public=public)
        elif public:
            raise refuse("--public is for one run", fix=f"steelyard report {folder}/0 --public")
        else:
            page = sweep.finish(folder).page
    except FileNotFoundError as error:
        raise refuse(f"{folder} cannot be rendered: {error}", fix=f"steelyard status {folder}") from error
    _console.write(str(page))
    return Exit.DONE


def _compare(folders: Sequence[Path], *, to: Path) -> int:
    from steelyard import sweep

    try:
        summary = sweep.compare(folders, to=to)
    except FileNotFoundError as error:
        raise refuse(f"these folders cannot be compared: {error}", fix="steelyard status DIR") from error
    sweep.print_sweep(summary)
    return Exit.DONE


def _status(folder: Path) -> int:
    from steelyard.folder import status

    try:
        found = status(folder)
    except FileNotFoundError as error:
        raise refuse(str(error), fix="ls outputs") from error
    rows = {
        "state": found.state,
        "exit code": "" if found.exit_code is None else str(found.exit_code),
        "message": found.message,
        "started": _time(found.started),
        "ended": _time(found.ended),
        "process": f"{found.pid} on {found.host}",
        "resumed": str(found.resumed),
    }
    for name, value in rows.items():
        if value:
            _console.write(f"{name:>10}  {value}")
    return Exit.DONE


def _time(seconds: float | None) -> str:
    return "" if seconds is None else f"{datetime.fromtimestamp(seconds):%Y-%m-%d %H:%M:%S}"
