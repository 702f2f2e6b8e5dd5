"""`steelyard plugins check MODULE:CLASS`."""

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import dedent
from typing import Any

from steelyard.plugin import Plugin
from steelyard.problem import refuse

# Hydra brings a pytest plugin, and the command line has imported Hydra by now.
QUIET = ("-W", "ignore::pytest.PytestAssertRewriteWarning")

_TEST = """
from {module} import {name}

from steelyard.testing import PluginSuite


class Test{name}(PluginSuite):
    plugin = {name}()
"""


def check(target: str) -> int:
    """Puts a declaration with its default settings through the suite, by pytest.

    Args:
        target: `module:Class`.

    Returns:
        0 if every check passed or did not apply, else 1.

    Raises:
        Refused: If there is no such declaration, it has no default settings, or pytest is not installed.
    """
    module, _, name = target.partition(":")
    cls = _declaration(module, name, target)
    try:
        cls()
    except (TypeError, ValueError) as error:
        message = (
            f"{target} cannot be made with its default settings ({error}): write a test with `plugin = {name}(...)`"
        )
        raise refuse(message, fix="steelyard plugins new NAME  (it writes such a test)") from error
    if find_spec("pytest") is None:
        raise refuse("the conformance suite runs under pytest, which is not installed", fix="pip install pytest")
    return _pytest(dedent(_TEST).format(module=module, name=name))


def _declaration(module: str, name: str, target: str) -> type[Plugin]:
    fix = "steelyard plugins check my_package.my_plugin:MyPlugin"
    if not (module and name.isidentifier()):
        raise refuse(f"{target} is not of the form MODULE:CLASS", fix=fix)
    try:
        found: Any = getattr(import_module(module), name)
    except Exception as error:  # whatever a stranger's module raises
        raise refuse(f"{target} does not import: {type(error).__name__}: {error}", fix=fix) from error
    if not (isinstance(found, type) and issubclass(found, Plugin)):
        raise refuse(f"{target} is no subclass of steelyard.Plugin", fix=fix)
    return found


def _pytest(source: str) -> int:
    import pytest

    with TemporaryDirectory(prefix="steelyard-check-") as folder:
        file = Path(folder) / "test_plugin.py"
        file.write_text(source, encoding="utf-8")
        # A folder of its own, so that the settings of the project in the working folder do not apply.
        words = ["-q", "--no-header", "--tb=short", "-rs", "-p", "no:cacheprovider", *QUIET, f"--rootdir={folder}"]
        code = pytest.main([*words, str(file)])
    return 0 if code == pytest.ExitCode.OK else 1
