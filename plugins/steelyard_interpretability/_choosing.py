"""Which examples are worth a picture: where the model does best and worst, where it doubts, and random ones."""

from collections.abc import Sequence

import numpy as np

from steelyard.runs import Predictions

KINDS = ("best", "worst", "uncertain", "random")
_STREAM = 1812
"""Sets this random stream apart from every other one that is made of the seed of the run."""


def chosen(
    predictions: Predictions, *, kinds: Sequence[str], count: int, seed: int
) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Kinds and places in the split of `count` examples, no place twice, the kinds taking turns.

    Args:
        predictions: Of the whole split.
        kinds: Some of `KINDS`, at least one: best and worst by the loss, uncertain by the probability of the decision.
        count: How many; fewer where the split has fewer.
        seed: Of the random ones.
    """
    population = len(predictions.losses)
    losses, sure = predictions.losses.double().numpy(), predictions.probabilities.double().numpy()
    order = {
        "best": np.argsort(np.nan_to_num(losses, nan=np.inf), kind="stable"),
        "worst": np.argsort(-np.nan_to_num(losses, nan=-np.inf), kind="stable"),
        "uncertain": np.argsort(np.nan_to_num(sure, nan=np.inf), kind="stable"),
        "random": np.random.default_rng([seed, _STREAM]).permutation(population),
    }
    found: dict[int, str] = {}
    for turn in range(min(count, population)):
        kind = kinds[turn % len(kinds)]
        found[next(int(place) for place in order[kind] if int(place) not in found)] = kind
    places = sorted(found, key=lambda place: kinds.index(found[place]))
    return tuple(found[place] for place in places), tuple(places)
