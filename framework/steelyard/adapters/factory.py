"""Which adapter a modality gets."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from difflib import get_close_matches
from typing import Any

from torch import Tensor

from steelyard.adapters.adapter import Adapter
from steelyard.adapters.audio import AudioAdapter
from steelyard.adapters.detection import DetectionAdapter, DetectionScoring
from steelyard.adapters.image import ImageAdapter
from steelyard.adapters.labels_scoring import LabelsScoring
from steelyard.adapters.scoring import ClassScoring, Scoring, TokenScoring
from steelyard.adapters.table import TableAdapter
from steelyard.adapters.text import TextAdapter
from steelyard.adapters.value_scoring import ValueScoring
from steelyard.adapters.video import VideoAdapter
from steelyard.narrowing import is_mapping, is_sequence
from steelyard.problem import refuse

MODALITIES = (
    ImageAdapter.modality,
    TableAdapter.modality,
    AudioAdapter.modality,
    DetectionAdapter.modality,
    TextAdapter.modality,
    VideoAdapter.modality,
)
SCORINGS: Mapping[str, type[Scoring]] = {
    "classes": ClassScoring,
    "labels": LabelsScoring,
    "value": ValueScoring,
    "tokens": TokenScoring,
}
"""What the outputs of a stranger's task may mean, by the words of `task.adapter.scoring`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a data module knows of its examples, by attributes of these names.

    Attributes:
        bounds: The smallest and largest raw value, where there are any.
        columns: Names of the columns of a table.
        names: What the classes are called.
        decode: Token numbers to text, where what comes out is text.
        sample_rate: Samples a second of sound.
        spell: Token numbers as pieces of text, with a space before each word, and "" for what is not to be drawn.
        texts_of: A split -> its texts as they were read, in the order of its unshuffled loader.
        tokenise: Texts -> `input_ids` and `attention_mask` (B, L).
    """

    bounds: tuple[float, float] | None = None
    columns: Sequence[str] = ()
    names: Sequence[str] = ()
    decode: Callable[[Sequence[int]], str] | None = None
    sample_rate: int | None = None
    spell: Callable[[Sequence[int]], Sequence[str]] | None = None
    texts_of: Callable[[str], Sequence[str]] | None = None
    tokenise: Callable[[Sequence[str]], Mapping[str, Tensor]] | None = None


def adapter_for(
    modality: str | None,
    *,
    facts: Facts | None = None,
    scoring: Scoring | None = None,
    options: Mapping[str, Any] | None = None,
    guess: Callable[[], str | None] = lambda: None,
) -> Adapter:
    """The adapter of a known modality.

    Args:
        modality: One of `MODALITIES`.
        facts: What the data knows.
        scoring: How to read the output; None for logits over classes, and for boxes in detection.
        options: Further fields of the adapter, e.g. which keys a batch has: `task.adapter` without a `_target_`.
        guess: What the modality most likely is, for the refusal where nobody named one.

    Raises:
        Refused: If the modality is not known, or nobody named one, or it has no such option.
    """
    known = facts or Facts()
    shared: dict[str, Any] = {
        "scoring": scoring or (DetectionScoring() if modality == DetectionAdapter.modality else ClassScoring()),
        "bounds": known.bounds,
        "names": tuple(known.names),
        "decode": known.decode,
    }
    match modality:
        case ImageAdapter.modality:
            made = ImageAdapter(**shared)
        case TableAdapter.modality:
            made = TableAdapter(**shared, columns=tuple(known.columns))
        case VideoAdapter.modality:
            made = VideoAdapter(**shared)
        case AudioAdapter.modality:
            made = AudioAdapter(**shared, sample_rate=known.sample_rate)
        case DetectionAdapter.modality:
            made = DetectionAdapter(**shared)
        case TextAdapter.modality:
            made = TextAdapter(**shared, spell=known.spell, texts_of=known.texts_of, tokenise=known.tokenise)
        case None:
            raise refuse(
                f"neither the task nor the data says what the inputs are (known: {', '.join(MODALITIES)}; "
                "or give an adapter of your own: +task.adapter._target_=my.Adapter)",
                fix=f"task.modality={guess() or MODALITIES[0]}",
            )
        case _:
            nearest = get_close_matches(modality, MODALITIES, n=1) or MODALITIES[:1]
            raise refuse(
                f"there is no adapter for the modality {modality!r} (known: {', '.join(MODALITIES)}; "
                "or give an adapter of your own: +task.adapter._target_=my.Adapter)",
                fix=f"task.modality={nearest[0]}",
            )
    return _with(made, options or {})


def _with(adapter: Adapter, options: Mapping[str, Any]) -> Adapter:
    known = {field.name for field in fields(adapter)}
    unknown = next((name for name in options if name not in known), None)
    if unknown is not None:
        raise refuse(
            f"the adapter for {adapter.modality} has no option {unknown!r} (known: {', '.join(sorted(known))})",
            fix=f"~task.adapter.{unknown}",
        )
    made = replace(adapter, **{name: tuple(value) if is_sequence(value) else value for name, value in options.items()})
    return replace(made, scoring=_scoring(options["scoring"])) if "scoring" in options else made


def _scoring(name: Any) -> Scoring:
    """What the output means, by name; a mapping holds options beside the name."""
    given: Mapping[str, Any] = name if is_mapping(name) else {"name": name}
    kind, options = str(given.get("name")), {key: value for key, value in given.items() if key != "name"}
    if kind not in SCORINGS:
        raise refuse(
            f"task.adapter.scoring is {kind!r}, must be one of {', '.join(SCORINGS)}",
            fix=f"+task.adapter.scoring={next(iter(SCORINGS))}",
        )
    made = SCORINGS[kind]
    known = [field.name for field in fields(made)] if is_dataclass(made) else []
    unknown = next((key for key in options if key not in known), None)
    if unknown is not None:
        raise refuse(
            f"the scoring {kind} has no option {unknown!r} (known: {', '.join(known) or 'none'})",
            fix=f"+task.adapter.scoring={kind}",
        )
    return made(**options)
