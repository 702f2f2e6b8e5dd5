"""From the words behind `steelyard lightning` to what the core is asked to do."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from steelyard import registry, schema, spec
from steelyard.door._words import gathered, together
from steelyard.door.translating import Tree, to_run
from steelyard.extras import require
from steelyard.narrowing import is_mapping, is_sequence
from steelyard.problem import refuse
from steelyard.selection import plugins_of

VERBS = ("fit", "validate", "test", "predict")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is asked for at this door, in the words of the other one.

    Attributes:
        verb: fit, validate, test or predict.
        config: Of a run.
        choices: Part of the config -> what was chosen, for titles.
        words: As typed behind the verb, each value with its key.
        checkpoint: Weights to begin with, or to look at.
    """

    verb: str
    config: DictConfig
    choices: Mapping[str, str]
    words: tuple[str, ...]
    checkpoint: Path | None


def enter(verb: str, words: Sequence[str]) -> Asked:
    """Reads the words by LightningCLI and gives the config of a run.

    Args:
        verb: One of `VERBS`.
        words: Behind it.

    Raises:
        Refused: With every problem that the core sees in the config.
        SystemExit: By jsonargparse, having said what is wrong (2), or printed what was asked for (0).
    """
    require("jsonargparse", extra="lightning")
    from steelyard.door._cli import OWN, Reader

    challenges = registry.challenges()
    words = together(words)
    asked = gathered(words, own=(*challenges, *OWN))
    read = Reader(verb, asked=asked, challenges=challenges)
    tree = to_run(read.tree)
    config = OmegaConf.create(
        {
            "checkpoints": "last",
            "deadline": None,
            "require": {},
            "vars": {},
            **{challenge: {} for challenge in challenges},
            **_open(tree),
        }
    )
    for choice in plugins_of(config):
        challenge, _, name = choice.key.partition(".")
        config[challenge][name] = {**schema.settings(choice.plugin), **_texts(config[challenge][name])}
    return Asked(
        verb=verb,
        config=config,
        choices=_choices(tree, challenges),
        words=tuple(words),
        checkpoint=_checkpoint(verb, read.arguments.get("ckpt_path")),
    )


def _open(tree: Tree) -> Tree:
    """The same with a blank wherever a class needs a value that nobody gave."""
    logger = tree["logger"]
    return {
        **tree,
        **{name: _with_blanks(tree[name]) for name in ("task", "model") if name in tree},
        "logger": [*map(_with_blanks, logger)] if is_sequence(logger) else _with_blanks(logger),
    }


def _with_blanks(node: Any) -> Any:
    if not is_mapping(node) or "_target_" not in node:
        return node
    return {**dict.fromkeys(_needed(node["_target_"]), spec.BLANK), **node}


def _needed(path: str) -> list[str]:
    """Names of the parameters that a class has to be given."""
    import inspect

    from hydra.utils import get_object

    try:
        parameters = inspect.signature(get_object(path)).parameters.values()
    except Exception:
        # It is refused where it is made, by Hydra's own rules.
        return []
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [one.name for one in parameters if one.default is inspect.Parameter.empty and one.kind in named]


def _texts(node: Any) -> Tree:
    """Settings that are to stay as they were written, such as `${oc.env:NAME}`."""
    plain: Any = OmegaConf.to_container(node, resolve=False)
    return {key: value for key, value in plain.items() if isinstance(value, str) and "${" in value}


def _choices(tree: Tree, challenges: Mapping[str, Any]) -> dict[str, str]:
    return spec.titles(tree) | {challenge: ",".join(tree[challenge]) for challenge in challenges if tree.get(challenge)}


def _checkpoint(verb: str, given: Any) -> Path | None:
    if given is None:
        if verb in ("test", "validate", "predict"):
            raise refuse(f"{verb} needs the weights to look at", fix="--ckpt_path outputs/RUN/checkpoints/last.ckpt")
        return None
    path = Path(str(given))
    if not path.is_file():
        raise refuse(f"there is no checkpoint {path}", fix="--ckpt_path outputs/RUN/checkpoints/last.ckpt")
    return path.absolute()
