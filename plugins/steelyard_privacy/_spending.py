# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""What all private trainings on one data set have spent, from the ledger."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pytorch_lightning import LightningDataModule
from torch import Tensor

from steelyard import randomness
from steelyard.measurement import Better, Measurement, Status
from steelyard_privacy._accounting import accountant, together
from steelyard_privacy._ledger import Tampered, Writer, parts, read
from steelyard_privacy._sampling import population_of

NAME = "ledger_epsilon"
SAMPLED = 64


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """A ledger that this run writes to.

    Attributes:
        path: The file.
        data: Fingerprint of the training data.
        writer: Of this process.
    """

    path: Path
    data: str
    writer: Writer


def fingerprint(data: LightningDataModule) -> str:
    """The data module's own, or a hash of the size and of some examples spread over the training split.

    Noise on the same people adds up only if they are recognised: another way to split or to load them looks like other
    data.
    """
    own: Callable[[], str] | None = getattr(data, "fingerprint", None)
    if callable(own):
        return str(own())
    with randomness.forked():
        loader: Any = data.train_dataloader()
        # All of it, also where this run trains on a part: what several runs take from the same people adds up.
        population = population_of(loader)
        digest = hashlib.sha256(str(len(population.indices)).encode())
        places = np.linspace(0, len(population.indices) - 1, num=min(SAMPLED, len(population.indices))).round()
        for place in places.astype(int).tolist():
            for leaf in _leaves(loader.dataset[population.indices[place]]):
                digest.update(leaf)
    return digest.hexdigest()


def summed_up(ledger: Ledger, *, delta: float) -> Measurement:
    """The epsilon of everything that the ledger knows of this data, this run included."""
    try:
        legs = read(ledger.path)
    except Tampered as tampered:
        note = f"the ledger cannot be trusted: {tampered}"
        return Measurement(name=NAME, status=Status.SKIPPED, note=note, timing=True)
    own = [leg for leg in legs if leg.data == ledger.data]
    return Measurement(
        name=NAME,
        value=together(parts(own, data=ledger.data), delta=delta),
        better=Better.LOWER,
        count=len(own),
        timing=True,
        note=f"{len(own)} trainings in {ledger.path.name}; delta={delta:.3g}, {accountant()}",
        meaning="What all private trainings on this data have given away together; each further run, also one of a "
        "sweep or one that was thrown away, adds to it.",
    )


def _leaves(node: Any) -> Iterator[bytes]:
    if isinstance(node, Tensor):
        yield node.detach().cpu().to(torch.float64).numpy().tobytes()
    elif isinstance(node, np.ndarray):
        yield node.tobytes()
    elif isinstance(node, Mapping):
        for value in node.values():
            yield from _leaves(value)
    elif isinstance(node, list | tuple):
        for value in node:
            yield from _leaves(value)
    else:
        yield repr(node).encode()
