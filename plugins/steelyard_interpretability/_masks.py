"""Where the truth lies, in `interpretability.faithfulness`: do explanations point there?"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from steelyard.measurement import Better, Measurement, Status
from steelyard.runs import Run
from steelyard.statistics import mean_interval, proportion
from steelyard_interpretability._samples import SPLIT
from steelyard_interpretability._trials import Trials
from steelyard_interpretability._verdicts import Verdict
from steelyard_interpretability.faithfulness import Faithfulness
from steelyard_interpretability.measures.shape import mass, pointing

POINTING = "share of the examples whose most important part lies in the mask"
MASS = "share of what speaks for the decision that lies in the mask"


def by_masks(run: Run, plugin: Faithfulness, found: Trials, verdicts: Mapping[str, Verdict]) -> Iterator[Measurement]:
    """Two rows for each method; skipped with the reason where the masks do not fit the data."""
    assert plugin.masks is not None
    try:
        truth = masked_units(run, Path(plugin.masks), found)
    except ValueError as error:
        yield Measurement(name="pointing", status=Status.SKIPPED, split=SPLIT, note=str(error), meaning=POINTING)
        return
    present = found.present
    known = (truth & present).any(dim=1)
    if not bool(known.any()):
        words = "no explained example has a mask"
        yield Measurement(name="pointing", status=Status.SKIPPED, split=SPLIT, note=words, meaning=POINTING)
        return
    chance = float(((truth & present).sum(dim=1) / present.sum(dim=1))[known].double().mean())
    note = f"by chance {chance:.2f}; bias: a model may be right for another reason than the one in the mask"
    for name, trial in found.trials.items():
        at: dict[str, str | float] = {"method": name}
        failed = verdicts[name].failed
        status = Status.INVALID if failed else Status.MEASURED
        words = f"control failed: {', '.join(failed)}" if failed else note
        hits = pointing(trial.units[known], truth[known], present=present[known])
        yield proportion(
            "pointing",
            int(hits.sum()),
            len(hits),
            status=status,
            better=Better.HIGHER,
            split=SPLIT,
            at=at,
            meaning=POINTING,
            note=words,
        )
        shares = mass(trial.units[known], truth[known])
        shares = shares[shares.isfinite()]
        if len(shares):
            mean, ends = mean_interval(shares, low=0, high=1)
            yield Measurement(
                name="mass",
                value=mean,
                status=status,
                better=Better.HIGHER,
                interval=ends,
                count=len(shares),
                at=at,
                split=SPLIT,
                meaning=MASS,
                note=words,
            )


def masked_units(run: Run, path: Path, found: Trials) -> Tensor:
    """The units of the explained examples that lie in their masks, in part at least: booleans (N, K).

    Raises:
        ValueError: If there are not as many masks as examples, or they are of another shape.
    """
    masks = np.load(path, mmap_mode="r", allow_pickle=False)
    size = len(run.predict(SPLIT).targets)
    if len(masks) != size:
        raise ValueError(f"{path.name} has {len(masks)} masks, and the validation split {size} examples")
    chosen = torch.as_tensor(np.array(masks[list(found.samples.numbers)])) != 0
    inputs = found.samples.inputs
    units = run.adapter.features(inputs).cpu()
    shape, ours = tuple(units.shape), tuple(chosen.shape[1:])
    if len(ours) == 1 < len(shape) and ours[0] >= shape[0]:
        # Places of texts, which a batch pads to its own longest.
        chosen = chosen[:, : shape[0]].reshape(len(chosen), shape[0], *[1] * (len(shape) - 1))
    try:
        elements = chosen.view(len(chosen), *[1] * (len(shape) + 1 - chosen.dim()), *chosen.shape[1:])
        elements = elements.expand(-1, *shape)
    except RuntimeError:
        raise ValueError(f"{path.name} has masks of {ours}, and an example is of {shape}") from None
    sums = torch.zeros(found.present.shape)
    return sums.index_add_(1, units.flatten(), elements.flatten(1).float()) > 0
