"""How a check ends: silently, failed with advice, or skipped because it does not apply."""

from collections.abc import Generator, Iterable
from contextlib import contextmanager
from unittest import SkipTest


def expect(holds: bool, advice: str) -> None:
    """Fails the check with a message that tells the author what to do.

    Raises:
        AssertionError: Unless it holds.
    """
    __tracebackhide__ = True
    if not holds:
        raise AssertionError(advice)


def expect_none(found: Iterable[str], advice: str) -> None:
    """Fails the check if anything was found, listing it all."""
    __tracebackhide__ = True
    listed = list(found)
    expect(not listed, f"{advice}:\n" + "\n".join(f"  - {line}" for line in listed))


def strangers(things: Iterable[object], *kinds: type) -> list[str]:
    """Those that are of none of these kinds, whatever their annotations promised."""
    return [repr(thing) for thing in things if not isinstance(thing, kinds)]


def does_not_apply(reason: str) -> SkipTest:
    """To be raised; pytest and unittest show it as skipped."""
    return SkipTest(reason)


@contextmanager
def after(check: str) -> Generator[None]:
    """What fails in here is the business of another check, so that one defect fails one check.

    Args:
        check: The name of that check.
    """
    try:
        yield
    except SkipTest:
        raise
    except Exception as error:
        raise SkipTest(f"see {check}, which fails first: {type(error).__name__}: {error}") from error
