"""`steelyard resume`, `report`, `compare` and `status`: what is done with folders; composes nothing."""

import argparse
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from steelyard.cli import _console
from steelyard.cli._main import Exit, explain
from steelyard.cli._verbs import VERBS
from steelyard.folder import STATUS
from steelyard.problem import refuse

SWEEP = "sweep.json"


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
            help="a run folder or a sweep folder",
        )
    if verb == "resume":
        made.add_argument("settings", nargs="*", metavar="sweep.KEY=VALUE", help="of a sweep: how to run it this time")
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
            return _resume(folders[0], found.settings)
        case "report":
            return _report(folders[0], public=found.public)
        case "compare":
            return _compare(folders, to=found.to)
        case _:
            return _status(folders[0])


def _resume(folder: Path, settings: Sequence[str]) -> int:
    if (folder / SWEEP).exists():
        from steelyard.cli._jobs import resume_sweep

        wrong = [word for word in settings if not word.startswith("sweep.")]
        if wrong:
            raise refuse(f"{wrong[0]} would change the trials: resume takes sweep.KEY=VALUE", fix="sweep.workers=2")
        return resume_sweep(folder, settings)
    if settings:
        raise refuse(f"{settings[0]} is for a sweep: a run goes on as it was started", fix=f"steelyard resume {folder}")
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

    if (folder / SWEEP).exists():
        return _sweep_status(folder)
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


def _sweep_status(folder: Path) -> int:
    from collections import Counter

    from steelyard.folder import read_json, status

    specs: dict[str, str] = read_json(folder / SWEEP)["specs"]
    distinct = {value or number: number for number, value in reversed(specs.items())}
    places = [folder / number for number in distinct.values()]
    states = Counter(status(place).state.value if (place / STATUS).exists() else "not started" for place in places)
    _console.write(f"{len(places)} trials: " + ", ".join(f"{count} {state}" for state, count in states.most_common()))
    return Exit.DONE


def _time(seconds: float | None) -> str:
    return "" if seconds is None else f"{datetime.fromtimestamp(seconds):%Y-%m-%d %H:%M:%S}"
