"""Which adapter a modality gets."""

from collections.abc import Sequence
from difflib import get_close_matches

from steelyard.adapters.adapter import Adapter, ClassScoring, Scoring
from steelyard.adapters.image import ImageAdapter
from steelyard.adapters.table import TableAdapter
from steelyard.problem import refuse

MODALITIES = (ImageAdapter.modality, TableAdapter.modality)


def adapter_for(
    modality: str | None,
    *,
    bounds: tuple[float, float] | None = None,
    columns: Sequence[str] = (),
    scoring: Scoring | None = None,
) -> Adapter:
    """The adapter of a known modality.

    Args:
        modality: One of `MODALITIES`.
        bounds: The smallest and largest raw value, where the data knows them.
        columns: Names of the columns of a table.
        scoring: How to read the output; None for logits over classes.

    Raises:
        Refused: If the modality is not known, or nobody named one.
    """
    output = scoring or ClassScoring()
    match modality:
        case ImageAdapter.modality:
            return ImageAdapter(scoring=output, bounds=bounds)
        case TableAdapter.modality:
            return TableAdapter(scoring=output, bounds=bounds, columns=tuple(columns))
        case None:
            known = ", ".join(MODALITIES)
            raise refuse(
                f"neither the task nor the data says what the inputs are (known: {known}; "
                "or give an adapter of your own: +task.adapter._target_=my.Adapter)",
                fix=f"task.modality={MODALITIES[0]}",
            )
        case _:
            nearest = get_close_matches(modality, MODALITIES, n=1) or MODALITIES[:1]
            raise refuse(
                f"there is no adapter for the modality {modality!r} (known: {', '.join(MODALITIES)}; "
                "or give an adapter of your own: +task.adapter._target_=my.Adapter)",
                fix=f"task.modality={nearest[0]}",
            )
