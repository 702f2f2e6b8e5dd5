"""`steelyard plugins new`: a complete, installable package with one plugin, as a start."""

import keyword
import tempfile
from dataclasses import dataclass
from importlib import metadata
from importlib.resources import files
from pathlib import Path

import steelyard
from steelyard.problem import refuse
from steelyard.registry import entries, is_well_formed

EXAMPLE = "steelyard plugins new stability.my_plugin"
TAKEN = frozenset({*steelyard.__all__, "Annotated", "Iterator", "PluginSuite", "Tensor"})
"""Names that the templates use."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """The words that fill the templates.

    Attributes:
        challenge: What the plugin answers.
        name: How it answers.
        package: Import name; it carries the challenge and the name, so that two authors do not meet.
        cls: The declaration's name.
    """

    challenge: str
    name: str
    package: str
    cls: str

    @property
    def distribution(self) -> str:
        """Name for pip, and of the folder: were it the package's, Python would take the one for the other."""
        return self.package.replace("_", "-")


def new(name: str, folder: Path) -> Path:
    """Writes a package that passes the conformance suite as it is.

    Args:
        name: `<challenge>.<plugin>`.
        folder: Where the package's own folder is made.

    Returns:
        The package's folder.

    Raises:
        Refused: If the name is none, the folder is missing, or its place is taken; nothing stays behind then.
    """
    names = _names(name)
    target = folder / names.distribution
    if not folder.is_dir():
        raise refuse(f"there is no folder {folder}", fix=f"mkdir -p {folder}")
    if target.exists() or target.is_symlink():
        raise refuse(f"{target} exists already", fix=f"{EXAMPLE} --folder ELSEWHERE")
    try:
        # Made beside its place and moved there whole.
        with tempfile.TemporaryDirectory(prefix=f".{names.distribution}-", dir=folder) as scratch:
            draft = Path(scratch) / names.distribution
            for path, text in _files(names).items():
                place = draft / path
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_text(text, encoding="utf-8")
            draft.rename(target)
    except OSError as error:
        raise refuse(f"{target} cannot be written: {error.strerror}", fix=f"{EXAMPLE} --folder ELSEWHERE") from error
    return target


def _names(name: str) -> Names:
    challenge, _, plugin = name.partition(".")
    if not is_well_formed(name) or keyword.iskeyword(plugin) or keyword.iskeyword(challenge):
        raise refuse(f"{name!r} is no name of a plugin: <challenge>.<plugin>, each a lower case word", fix=EXAMPLE)
    cls = "".join(word.capitalize() for word in plugin.split("_"))
    if cls in TAKEN:
        raise refuse(
            f"a plugin called {plugin} would hide the {cls} that it is made of",
            fix=f"steelyard plugins new {challenge}.my_{plugin}",
        )
    owners = [entry.distribution for entry in entries() if entry.key == name]
    if owners:
        raise refuse(f"{owners[0]} has a plugin {name} already", fix=f"steelyard plugins new {challenge}.my_{plugin}")
    return Names(challenge=challenge, name=plugin, package=f"steelyard_{challenge}_{plugin}", cls=cls)


def _files(names: Names) -> dict[str, str]:
    """Path -> content."""
    from jinja2 import Environment, StrictUndefined

    templates = files("steelyard") / "templates" / "plugin"
    environment = Environment(undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False)  # noqa: S701
    package, name = names.package, names.name
    sources = {
        "pyproject.toml": "pyproject.toml.j2",
        "README.md": "README.md.j2",
        f"{package}/__init__.py": "__init__.py.j2",
        f"{package}/{name}.py": "declaration.py.j2",
        f"{package}/_{name}.py": "attachment.py.j2",
        f"tests/test_{name}.py": "test.py.j2",
    }
    words = {
        "challenge": names.challenge,
        "name": name,
        "package": package,
        "cls": names.cls,
        "distribution": names.distribution,
        "version": metadata.version("steelyard"),
    }
    made = {
        path: environment.from_string((templates / source).read_text(encoding="utf-8")).render(words)
        for path, source in sources.items()
    }
    return {**made, f"{package}/py.typed": ""}
