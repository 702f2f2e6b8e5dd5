# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportPrivateImportUsage=false
"""The only place of the speech models that touches `transformers`."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from steelyard.extras import require
from steelyard.problem import refuse


def made(of: str, config: str, **options: Any) -> Any:
    """A model of transformers with random weights.

    Args:
        of: Which automatic class makes it: AutoModelForCTC or AutoModelForSpeechSeq2Seq.
        config: The class of its config.
        options: What the config takes.

    Raises:
        Refused: If the library is missing, or the config does not fit together.
    """
    require("transformers", extra="speech")
    import transformers

    try:
        made_config = getattr(transformers, config)(**options)
        # Attention that explanations and per-example gradients can look into.
        return getattr(transformers, of).from_config(made_config, attn_implementation="eager")
    except ValueError as error:
        raise refuse(f"the model cannot be made: {error}", fix="model.width=96 model.heads=4") from error


@contextmanager
def silent() -> Generator[None]:
    """Quiet while texts are written: the library warns of its own defaults."""
    import transformers

    logging: Any = transformers.utils.logging
    level = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
