"""Checks of the declaration: the dataclass that users configure."""

import dataclasses
import os
import pickle
import subprocess
import sys
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from omegaconf import OmegaConf

from steelyard import schema
from steelyard.plugin import Plugin
from steelyard.problem import Refused
from steelyard.testing._bench import Bench
from steelyard.testing._verdict import after, does_not_apply, expect, expect_none

HEAVY = ("torch", "numpy", "pytorch_lightning", "lightning")
SCALARS = (bool, int, float, str, Path, NoneType)
ALLOWED = "bool, int, float, str, Path, StrEnum, Literal, X | None, tuples and dicts of these, frozen dataclasses"

_LOOK = """
import importlib, sys
before = set(sys.modules)
importlib.import_module(sys.argv[1])
print(*(name for name in sys.argv[2:] if name in sys.modules and name not in before))
"""


class DeclarationChecks(Bench):
    """What the class and its fields must be."""

    def test_is_a_frozen_keyword_only_dataclass(self) -> None:
        """Stateless, and no value without its name."""
        cls = type(self.plugin)
        advice = f"write `@dataclass(frozen=True, kw_only=True)` above `class {cls.__name__}`"
        # Of its own, not the one that `Plugin` hands down.
        own: Any = cls.__dict__.get("__dataclass_params__")
        expect(own is not None and own.frozen, advice)
        expect_none((f"{field.name} is positional" for field in dataclasses.fields(cls) if not field.kw_only), advice)

    def test_fields_have_types_that_a_config_can_hold(self) -> None:
        """Only what YAML and the command line can say."""
        wrong = (f"{path}: {kind}" for path, kind in _leaves(type(self.plugin)) if not _is_allowed(kind))
        expect_none(wrong, f"fields may be {ALLOWED}; change the type of")

    def test_no_field_is_called_log(self) -> None:
        """Lightning overwrites that name on every callback."""
        names = (path for path, _ in _leaves(type(self.plugin)) if path.rpartition(".")[2] == "log")
        expect_none(names, "Lightning overwrites `log` on every callback; give another name to")

    def test_every_field_says_what_it_means(self) -> None:
        """Help, `plugins show` and the report print it."""
        rows = schema.describe(type(self.plugin))
        expect_none((row.path for row in rows if not row.help), 'write `Annotated[type, Option("meaning")]` for')
        # A dataclass without one gets its signature as docstring.
        said = (type(self.plugin).__doc__ or "").strip()
        written = bool(said) and not said.startswith(f"{type(self.plugin).__name__}(")
        expect(written, "give the class a docstring: its first line is shown by `plugins list`")

    def test_declaring_imports_nothing_heavy(self) -> None:
        """A plugin that is off costs nothing, not even an import."""
        module = type(self.plugin).__module__
        watched = (*HEAVY, *self.plugin.needs)
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        done = subprocess.run(  # noqa: S603
            [sys.executable, "-c", _LOOK, module, *watched],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        last = done.stderr.strip().rpartition("\n")[2]
        expect(done.returncode == 0, f"`import {module}` fails in a fresh Python: {last}")
        advice = f"{module} is imported by every command; import these in an underscored module, inside `attach`"
        expect_none(done.stdout.split(), advice)

    def test_survives_the_config(self) -> None:
        """What was declared is what comes back from plain values."""
        with after("test_fields_have_types_that_a_config_can_hold"):
            self.test_fields_have_types_that_a_config_can_hold()
        advice = "a config cannot carry these values; do they fit the types and ranges of their fields?"
        expect_none(self._lost(self.plugin, schema.settings(self.plugin)), f"{self.plugin}: {advice}")
        cls = type(self.plugin)
        defaults = schema.twin(cls)
        if not any(value == "???" for value in defaults.values()):
            expect_none(self._lost(cls(), defaults), f"the defaults of {cls.__name__}: {advice}")

    def test_equal_settings_make_equal_plugins(self) -> None:
        """Sweeps run equal specs once."""
        twin = dataclasses.replace(self.plugin)
        expect(twin == self.plugin, "two declarations with the same fields differ: leave `__eq__` to the dataclass")

    def test_equal_plugins_have_equal_hashes(self) -> None:
        """As far as the fields can be hashed."""
        values = [getattr(self.plugin, field.name) for field in dataclasses.fields(self.plugin)]
        if not all(_is_hashable(value) for value in values):
            raise does_not_apply("a field holds a value that has no hash, such as a dict")
        advice = "leave `__hash__` to the frozen dataclass"
        expect(_is_hashable(self.plugin), f"it has no hash, though all its fields have one: {advice}")
        expect(hash(dataclasses.replace(self.plugin)) == hash(self.plugin), f"equal plugins hash differently: {advice}")

    def test_can_be_pickled(self) -> None:
        """Launchers send it to other processes."""
        try:
            again = pickle.loads(pickle.dumps(self.plugin))  # noqa: S301
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            again, reason = None, f": {error}"
        else:
            reason = ": it came back different"
        advice = f"{type(self.plugin).__name__} does not survive pickle{reason}"
        expect(again is not None and not list(_unequal(self.plugin, again)), advice)

    def _lost(self, plugin: Plugin, values: Mapping[str, Any]) -> list[str]:
        try:
            return _unequal(plugin, schema.build(type(plugin), OmegaConf.create(dict(values)), path=self._key()))
        except Refused as refused:
            return str(refused).splitlines()


def _unequal(one: Any, other: Any) -> list[str]:
    pairs = ((field.name, getattr(one, field.name), getattr(other, field.name)) for field in dataclasses.fields(one))
    return [f"{name}: {old!r} became {new!r}" for name, old, new in pairs if old != new]


def _leaves(cls: type[Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Every field with its bare type, those of nested declarations too."""
    found: list[tuple[str, Any]] = []
    for name, kind in get_type_hints(cls, include_extras=True).items():
        if name not in {field.name for field in dataclasses.fields(cls)}:
            continue
        bare = _bare(kind)
        found.append((f"{prefix}{name}", bare))
        if dataclasses.is_dataclass(bare) and isinstance(bare, type):
            found += _leaves(bare, f"{prefix}{name}.")
    return found


def _bare(kind: Any) -> Any:
    return get_args(kind)[0] if get_origin(kind) is Annotated else kind


def _is_allowed(kind: Any) -> bool:
    kind = _bare(kind)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Literal:
        return all(isinstance(choice, bool | int | str) for choice in arguments)
    if origin in (Union, UnionType):
        return all(_is_allowed(member) for member in arguments)
    if origin is tuple:
        return all(member is Ellipsis or _is_allowed(member) for member in arguments)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return len(arguments) == 2 and all(_is_allowed(member) for member in arguments)
    if not isinstance(kind, type):
        return False
    if dataclasses.is_dataclass(kind):
        return bool(getattr(kind, "__dataclass_params__").frozen)  # noqa: B009
    return kind in SCALARS or issubclass(kind, StrEnum)


def _is_hashable(value: object) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True
