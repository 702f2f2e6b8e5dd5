"""The verbs and their one-line help; read by `steelyard --help` and by completion, so it imports nothing heavy."""

import os
import sys
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Verb:
    """One word behind `steelyard`.

    Attributes:
        module: Below `steelyard.cli`; its `main(verb, words)` does the work.
        usage: What follows the verb.
        help: One line.
        heavy: Whether it trains, weighs or foresees how a training will go.
    """

    module: str
    usage: str
    help: str
    heavy: bool = False


VERBS = {
    "run": Verb(module="run", usage="[KEY=VALUE ...] [-m]", help="train a model and weigh it; -m sweeps", heavy=True),
    "weigh": Verb(
        module="run", usage="ckpt=PATH [KEY=VALUE ...]", help="weigh an existing model, without training", heavy=True
    ),
    "plan": Verb(
        module="run", usage="[KEY=VALUE ...] [-m]", help="preflight and predicted cost, without training", heavy=True
    ),
    "lightning": Verb(
        module="lightning",
        usage="fit|validate|test|predict --config FILE",
        help="the same runs through LightningCLI",
        heavy=True,
    ),
    "resume": Verb(module="stored", usage="DIR", help="go on after an interrupt or a kill", heavy=True),
    "report": Verb(module="stored", usage="DIR [--public]", help="render the page of a run or a sweep again"),
    "compare": Verb(module="stored", usage="DIR ...", help="several runs or a sweep, side by side"),
    "status": Verb(module="stored", usage="DIR", help="what a run is doing, or how it ended"),
    "plugins": Verb(module="plugins", usage="list|show|new|check", help="the plugins that are installed, and new ones"),
    "doctor": Verb(module="doctor", usage="", help="check this machine"),
    "completion": Verb(module="completion", usage="bash|zsh|fish", help="print the completion script of a shell"),
}


def overview() -> str:
    """What `steelyard --help` prints."""
    width = max(len(f"{name} {verb.usage}") for name, verb in VERBS.items())
    rows = "\n".join(f"  {f'{name} {verb.usage}':<{width}}  {verb.help}" for name, verb in VERBS.items())
    return (
        "Train a model and weigh it on the four challenges of large models: compute, privacy, interpretability,\n"
        "stability.\n\n"
        "usage: steelyard VERB ...\n\n"
        f"{rows}\n\n"
        "examples:\n"
        "  steelyard run experiment=first_look\n"
        "  steelyard run --help\n"
        "  steelyard plugins list\n\n"
        "exit codes: 0 done, all requirements met; 1 a requirement not met; 2 refused before training; 3 failed;\n"
        "130 interrupted; 143 terminated. A sweep returns the highest of its trials.\n"
    )


def working_folder_last() -> None:
    """Makes a file beside the user importable by `_target_`; at the end of the path it shadows nothing."""
    here = os.getcwd()  # noqa: PTH109 - sys.path holds strings
    if here not in sys.path:
        sys.path.append(here)
