"""A lever: what a plugin is to somebody who is short of memory or time."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Lever:
    """A plugin that `steelyard plan plan.advise=true` may propose, at its default settings.

    Attributes:
        costs: What it costs in exactness, in a few words.
        exact: True if training comes to the same weights as without it, but for rounding in 32 bits.
        multiplies: The option that puts that many small batches together to a step, where there is one; the advisor
            then divides `data.batch_size` by the same number.
    """

    costs: str
    exact: bool = False
    multiplies: str | None = None
