"""Optional libraries and local places, with clear words where they are missing."""

from importlib.util import find_spec
from pathlib import Path

from steelyard.problem import refuse

PACKAGE = "package://"
"""How a folder inside an installed package is written: `package://NAME/FOLDER`."""


def require(library: str, *, extra: str) -> None:
    """Checks that an optional library is there, without importing it.

    Args:
        library: Its import name.
        extra: The extra of Steelyard that brings it.

    Raises:
        Refused: If it is missing.
    """
    if find_spec(library) is None:
        raise refuse(f"{library} is not installed", fix=f"pip install 'steelyard[{extra}]'")


def place_of(place: str, *, key: str) -> Path | None:
    """The local file or folder that is meant, or None where this may be a name of the Hugging Face hub.

    Args:
        place: A path, or `package://NAME/FOLDER` for a folder inside an installed package.
        key: The config key that named it.

    Raises:
        Refused: If a package is missing, or what looks like a path leads nowhere.
    """
    if place.startswith(PACKAGE):
        name, _, folder = place.removeprefix(PACKAGE).partition("/")
        found = find_spec(name)
        if found is None or found.origin is None:
            raise refuse(
                f"{key}={place} is inside the package {name}, which is not installed",
                fix=f"pip install {name.replace('_', '-')}",
            )
        return _there(Path(found.origin).parent / folder, place, key=key)
    path = Path(place).expanduser()
    like_hub = place.count("/") <= 1 and not place.startswith((".", "/", "~")) and not path.suffix
    return path if path.exists() else None if like_hub else _there(path, place, key=key)


def _there(path: Path, place: str, *, key: str) -> Path:
    if not path.exists():
        raise refuse(f"there is no {key}={place}", fix=f"{key}=FOLDER")
    return path
