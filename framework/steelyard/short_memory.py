"""What running out of memory looks like; imports nothing heavy."""

import errno
import re

_WORDS = re.compile(
    r"out of memory|can't allocate memory|not enough memory|cannot allocate memory|alloc_failed|bad_alloc"
    # How oneDNN says it inside a convolution or GELU; one that it cannot do at all has no "primitive descriptor".
    r"|could not create a (primitive(?! descriptor)|memory)",
    re.IGNORECASE,
)
FIX = "a smaller data.batch_size; steelyard plan plan.largest_batch=true tells the largest that fits"


def noted(error: BaseException) -> str:
    """The error in a line; where memory ran out, the line, and from now on the error's traceback, too, says so.

    Args:
        error: As for `ran_out`.
    """
    line = f"{type(error).__name__}: {error}"
    if not ran_out(error):
        return line
    hint = f"memory ran out: {FIX}"
    if hint not in getattr(error, "__notes__", ()):
        error.add_note(hint)
    # What another process failed of comes with the hint.
    return line if hint in line else f"{line}; {hint}"


def ran_out(error: BaseException) -> bool:
    """Whether memory ran out, of the process or of its device, whoever asked for it.

    Args:
        error: Of Python, torch on any device, CUDA's libraries or oneDNN.
    """
    if isinstance(error, MemoryError) or any(kind.__name__ == "OutOfMemoryError" for kind in type(error).__mro__):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and bool(_WORDS.search(str(error)))
