# pyright: reportUnknownMemberType=false
"""The live half of `privacy=membership`."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException
from numpy.typing import NDArray
from torch import Tensor

from steelyard.adapters import TokenScoring
from steelyard.attachment import Attachment
from steelyard.measurement import Artefact, Better, Measurement, Picture, Status
from steelyard.problem import Refused
from steelyard.runs import Run
from steelyard_privacy._attack import Estimate, Scores, area, curve, hits, memorised
from steelyard_privacy._meanings import meant
from steelyard_privacy._pictures import roc_curve
from steelyard_privacy._tokens import least_likely
from steelyard_privacy.membership import Membership

CONTROL_LEVEL = 0.999
"""A control that cried wolf in one of twenty correct runs would be switched off."""
CONTROL_EXAMPLES = 100
NAMES = ("auc", "tpr_at_low_fpr")
ATTACK = "loss threshold (Yeom et al. 2018)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """An attack whose outcome is known."""

    name: str
    found: Estimate
    count: int
    passed: bool
    split: str
    words: str


@final
class MembershipAttack(Attachment):
    """Compares the losses of training and test examples."""

    def __init__(self, plugin: Membership) -> None:
        self._plugin = plugin

    @meant
    def measure(self, run: Run) -> Iterator[Measurement | Artefact]:
        """The attack, and two controls without which it says nothing."""
        members, others = _losses(run, "train"), _losses(run, "test")
        if members is None or others is None or min(len(members), len(others)) < 2:
            for name in NAMES:
                yield Measurement(name=name, status=Status.SKIPPED, note="needs a training and a test split")
            return
        size = min(len(members), len(others), self._plugin.examples or len(others))
        inside, outside = _some(members, size, seed=run.seed), _some(others, size, seed=run.seed + 1)
        controls = [*_unseen(run, others), *_memoriser(run, size)]
        failed = "; ".join(f"control {control.name}: {control.words}" for control in controls if not control.passed)
        yield _area(area(inside, outside), size=size, failed=failed)
        yield from self._by_tokens(run, size, failed)
        yield _hits(inside, outside, rate=self._plugin.false_positive_rate, failed=failed)
        for control in controls:
            yield Measurement(
                name=control.name,
                value=control.found.value,
                interval=control.found.interval,
                level=CONTROL_LEVEL,
                count=control.count,
                split=control.split,
                note=f"control: {control.words}",
            )
        yield _picture(inside, outside)

    def _by_tokens(self, run: Run, size: int, failed: str) -> Iterator[Measurement]:
        if not isinstance(run.adapter.scoring, TokenScoring):
            return
        share = self._plugin.lowest_tokens
        inside = _some(least_likely(run, "train", share=share), size, seed=run.seed)
        outside = _some(least_likely(run, "test", share=share), size, seed=run.seed + 1)
        attack = f"Min-K% (Shi et al. 2024), the {share:.0%} least likely tokens of each text"
        yield _area(area(inside, outside), size=size, failed=failed, name="auc_min_k", attack=attack)


def _area(found: Estimate, *, size: int, failed: str, name: str = "auc", attack: str = ATTACK) -> Measurement:
    words = f"{attack}, {size} training against {size} test examples; the wider of DeLong's and Newcombe's interval"
    return Measurement(
        name=name,
        value=found.value,
        status=Status.INVALID if failed else Status.MEASURED,
        better=Better.LOWER,
        interval=found.interval,
        count=2 * size,
        split="train",
        note=f"{failed}; {words}" if failed else f"{words}; 0.5 is guessing",
    )


def _hits(inside: Scores, outside: Scores, *, rate: float, failed: str) -> Measurement:
    found = hits(inside, outside, rate=rate)
    words = (
        f"at {rate:.1%} false positives: the threshold accuses {found.accused} of {len(outside)} non-members; "
        "Clopper-Pearson interval that includes the doubt about the threshold"
    )
    return Measurement(
        name="tpr_at_low_fpr",
        value=found.value,
        status=Status.INVALID if failed else Status.MEASURED,
        better=Better.LOWER,
        interval=found.interval,
        count=len(inside) + len(outside),
        split="train",
        note=f"{failed}; {words}" if failed else words,
    )


def _unseen(run: Run, others: Scores) -> Iterator[Control]:
    """Nobody has seen validation or test examples in training: they must look alike."""
    validation = _losses(run, "val")
    if validation is not None and len(validation) >= 2:
        one, other, words = validation, others, "validation against test examples"
    else:
        mixed = _some(others, len(others), seed=run.seed + 2)
        one, other, words = mixed[::2], mixed[1::2], "two halves of the test examples"
    if min(len(one), len(other)) < 2:
        return
    found = area(one, other, level=CONTROL_LEVEL)
    alike = found.interval[0] <= 0.5 <= found.interval[1]
    yield Control(
        name="unseen_auc",
        found=found,
        count=len(one) + len(other),
        passed=alike,
        split="test",
        words=f"{words}, none of them trained on, {'look alike' if alike else 'differ: the splits are not comparable'}",
    )


def _memoriser(run: Run, size: int) -> Iterator[Control]:
    """A model that has learnt some training examples by heart must be caught."""
    count = min(size, CONTROL_EXAMPLES)
    members, others = _inputs(run, "train", count), _inputs(run, "test", count)
    found = area(*memorised(members, others, seed=run.seed), level=CONTROL_LEVEL)
    caught = found.interval[0] > 0.5
    yield Control(
        name="memoriser_auc",
        found=found,
        count=len(members) + len(others),
        passed=caught,
        split="train",
        words=f"a model that has memorised random labels is {'caught' if caught else 'not caught'}",
    )


def _losses(run: Run, split: str) -> Scores | None:
    """Scores of all examples of a split: the smaller the loss, the higher; None where there is no such split."""
    try:
        losses = run.predict(split).losses
    except (Refused, MisconfigurationException):
        return None
    # A loss that is no number speaks against membership like an infinite one.
    return -np.nan_to_num(losses.double().numpy(), nan=np.inf, posinf=np.inf)


def _inputs(run: Run, split: str, count: int) -> NDArray[Any]:
    found: list[Tensor] = []
    for batch in run.loader(split):
        seen = run.adapter.inputs(run.task, run.to_device(batch)).detach().double().cpu()
        # Sequences of different lengths are told apart by their means.
        found.append(seen.flatten(start_dim=1) if seen.dim() != 3 else seen.mean(dim=1))
        if sum(map(len, found)) >= count:
            break
    return torch.cat(found)[:count].numpy()


def _some(scores: Scores, count: int, *, seed: int) -> Scores:
    """A random choice, so that both sides have the same size, whatever the order of the data."""
    return np.random.default_rng(seed).permutation(scores)[:count]


def _picture(inside: Scores, outside: Scores) -> Picture:
    false, true = curve(inside, outside)
    return Picture(
        name="roc",
        title="Who was in the training data? The attacker's hits over false alarms",
        png=roc_curve(false, true, smallest=1 / len(outside)),
        alt=f"ROC curve on logarithmic axes, area {area(inside, outside).value:.3f}; the diagonal is guessing.",
        split="train",
    )
