"""Options that explaining plugins share."""

from typing import Annotated

from steelyard.option import Option

MaxSeconds = Annotated[
    float | None,
    Option(
        "above which steps and draws shrink to an eighth, then the examples to two; null: no limit",
        unit="seconds",
        gt=0,
    ),
]
MaxMemory = Annotated[
    float | None,
    Option("beside the model's own; inputs in one pass shrink until they fit; null: no limit", unit="MiB", gt=0),
]
