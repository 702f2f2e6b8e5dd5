"""LightningCLI as a reader of configs: its parser, its checks and its help; what it read is carried out by the core."""

# pyright: reportUnknownMemberType=false
# jsonargparse leaves its keyword arguments untyped.

import importlib
import logging
import warnings
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any, NoReturn

import yaml
from jsonargparse import Namespace, set_parsing_settings
from pytorch_lightning import LightningDataModule, LightningModule, Trainer
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI
from typing_extensions import override

from steelyard.door._words import Gathered, blank_again
from steelyard.door.translating import Tree
from steelyard.problem import refuse

OWN = ("require", "vars")
"""Roots of a run's config that hold anything."""
NAMED = ("data", "models", "optimisation", "tasks")
"""Packages of our own whose classes are known by their last name: jsonargparse finds only what is imported."""


class Parser(LightningArgumentParser):
    """Leaves it to the core to miss a value, since the data module may know it."""

    @override
    def validate(
        self,
        namespace: Namespace,
        skip_unset: bool = True,
        skip_required: bool = True,
        branch: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().validate(namespace, skip_unset=skip_unset, skip_required=True, branch=branch, **kwargs)

    @override
    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        del ex
        raise refuse(_brief(message))


class Reader(LightningCLI):
    """Reads one verb with its words; makes nothing.

    Args:
        verb: fit, validate, test or predict.
        asked: The words behind it.
        challenges: Roots that hold plugins.

    Attributes:
        tree: What was asked for, in LightningCLI's keys, without the defaults of any class.
        arguments: Of the verb itself, such as `ckpt_path`.
    """

    def __init__(self, verb: str, *, asked: Gathered, challenges: Mapping[str, tuple[str, ...]]) -> None:
        self.tree: Tree = {}
        self.arguments: Tree = {}
        self._asked, self._challenges = asked, challenges
        for part in NAMED:
            importlib.import_module(f"steelyard.{part}")
        # A dataclass, too, is named by class_path: Hydra knows no other way.
        set_parsing_settings(subclasses_enabled=[object])
        with warnings.catch_warnings(), _silent(logging.getLogger("lightning_fabric")):
            # The words of this process are the ones that it is given.
            warnings.filterwarnings("ignore", message=r"LightningCLI's args parameter is intended.*")
            # It is the core that seeds.
            warnings.filterwarnings("ignore", message=r"No seed found.*")
            # Lightning 2.6 calls jsonargparse in an outdated way.
            warnings.filterwarnings("ignore", category=DeprecationWarning)
            super().__init__(
                LightningModule,
                LightningDataModule,
                subclass_mode_model=True,
                subclass_mode_data=True,
                parser_class=Parser,
                seed_everything_default=0,
                auto_configure_optimizers=False,
                save_config_callback=None,
                args=[verb, f"--config={yaml.safe_dump(asked.tree)}\n", *asked.words],
            )

    @override
    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        for challenge, plugins in self._challenges.items():
            known = f"{', '.join(plugins)}, each with its settings: --{challenge}.{plugins[0]}.NAME VALUE"
            parser.add_argument(f"--{challenge}", type=dict[str, Any], default={}, help=known)
        parser.add_argument("--require", type=dict[str, Any], default={}, help="bounds on measurements")
        parser.add_argument("--vars", type=dict[str, Any], default={}, help="helper values")
        parser.add_argument("--checkpoints", type=str, default="last", help="last | none")
        parser.add_argument("--deadline", type=float | None, default=None, help="seconds for all measuring")
        parser.add_argument("--modality", type=str | None, default=None, help="image, text and so on, if unknown")
        parser.add_argument("--adapter", type=Any, default=None, help="options of the adapter, or one of your own")

    @override
    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        # The defaults of classes stay out, or a class chosen over another would take them over; the printed config
        # shows them, since they are what one wants to see there.
        printing = any(word.startswith("--print_config") for word in self._asked.words)
        self.config = parser.parse_args(args, defaults=printing)

    @override
    def instantiate_classes(self) -> None:
        verb = str(self.subcommand)
        dumped: Tree = yaml.safe_load(self.parser.dump(self.config, format="yaml", skip_none=False))[verb]
        self.arguments = {name: dumped.pop(name) for name in self._subcommand_method_arguments[verb] if name in dumped}
        self.tree = blank_again(dumped, self._asked.blanks)
        # What LightningCLI would call next; the methods below stand before those of the Trainer.
        self.config_init, self.model, self.datamodule, self.trainer = self.config, None, None, Trainer

    def fit(self, **_: Any) -> None:
        """Reading is all that is done here."""

    validate = test = predict = fit


@contextmanager
def _silent(logger: logging.Logger) -> Generator[None]:
    """Says nothing of the seed, which the core sets again."""
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


def _brief(message: str) -> str:
    """Where and why, without the types that were tried and the whole config that jsonargparse repeats."""
    noise = ("Given value", "Does not validate", "Subtypes:", "Errors:", "- Expected a <class 'NoneType'>", "tip:")
    lines = [line.strip() for line in message.splitlines()]
    return " ".join(line.removeprefix("- ") for line in lines if line and not line.startswith(noise))
