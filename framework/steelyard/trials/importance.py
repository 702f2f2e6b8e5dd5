"""Which swept keys move a score: Breiman's permutation importance (Random Forests, 2001), out of the bag.

Shuffling a key raises the squared error by twice the variance that goes through the key, alone and together with others
(its total effect, Homma and Saltelli 1996), where the forest knows the score; so half the rise is that share.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

TREES = 100
FEWEST, PER_KEY = 20, 5
"""Groups below which nothing is said: so many, and so many for each swept key."""
LEAST = 0.2
"""Explained share of the variance, out of the bag, below which nothing is said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Importance:
    """What a random forest has learned of a score.

    Attributes:
        explained: Share of the score's variance that the forest explains for groups that it has not seen (its
            out-of-bag score), `LEAST` to 1.
        shares: Key -> share of the variance that goes through it, about 0 to 1, the greatest first. Keys that only
            matter together each have the whole of it, so the shares need not add up to `explained`.
        count: Groups behind it.
    """

    explained: float
    shares: dict[str, float]
    count: int


def importance(
    settings: Sequence[Sequence[str]], keys: Sequence[str], scores: Sequence[float | None], *, seed: int = 0
) -> Importance | None:
    """The importance of each key for a score; None where the groups are too few or say too little.

    Args:
        settings: For each group a value for each key, as text; numbers are read as numbers.
        keys: The swept keys.
        scores: For each group, None where it was not measured.
        seed: Of the forest and of the shuffles.
    """
    known = [(chosen, score) for chosen, score in zip(settings, scores, strict=True) if score is not None]
    rows = [chosen for chosen, _ in known]
    moving = [place for place in range(len(keys)) if len({row[place] for row in rows}) > 1]
    if not moving or len(known) < max(FEWEST, PER_KEY * len(moving)) or len({score for _, score in known}) < 2:
        return None
    import numpy as np
    from sklearn.ensemble import RandomForestRegressor

    blocks: list[Any] = [_columns([row[place] for row in rows]) for place in moving]
    inputs: Any = np.concatenate(blocks, axis=1)
    target: Any = np.array([score for _, score in known], dtype=float)
    target = (target - target.mean()) / target.std()
    forest: Any = RandomForestRegressor(TREES, oob_score=True, random_state=seed, min_samples_leaf=2)
    forest.fit(inputs, target)
    explained = float(forest.oob_score_)
    if explained < LEAST:
        return None
    ends = np.cumsum([block.shape[1] for block in blocks])
    places = [range(end - block.shape[1], end) for block, end in zip(blocks, ends, strict=True)]
    rises = _rises(forest, inputs, target, places, np.random.default_rng(seed))
    shares = {keys[place]: rise for place, rise in zip(moving, rises, strict=True)}
    ranked = dict(sorted(shares.items(), key=lambda item: -item[1]))
    return Importance(explained=explained, shares=ranked, count=len(known))


def _rises(forest: Any, inputs: Any, target: Any, places: Sequence[range], random: Any) -> list[float]:
    """Half the rise of the mean squared error of the unseen, in variances of the score, for each block of columns."""
    import numpy as np

    rises = np.zeros((len(forest.estimators_), len(places)))
    for number, (tree, drawn) in enumerate(zip(forest.estimators_, forest.estimators_samples_, strict=True)):
        unseen = np.setdiff1d(np.arange(len(inputs)), drawn)
        if len(unseen) < 2:
            continue
        held, wanted = inputs[unseen], target[unseen]
        error = _squared(tree.predict(held) - wanted)
        for block, columns in enumerate(places):
            shuffled = held.copy()
            shuffled[:, columns] = held[random.permutation(len(held))][:, columns]
            rises[number, block] = _squared(tree.predict(shuffled) - wanted) - error
    return [float(rise) / 2 for rise in rises.mean(axis=0)]


def _squared(off: Any) -> float:
    return float((off**2).mean())


def _columns(values: Sequence[str]) -> Any:
    """One column of numbers; or one for each of the words, which are shuffled together."""
    import numpy as np

    try:
        return np.array([[float(value)] for value in values])
    except ValueError:
        words = sorted(set(values))
        return np.array([[float(value == word) for word in words] for value in values])
