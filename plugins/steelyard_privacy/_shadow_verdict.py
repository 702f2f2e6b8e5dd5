# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""What the shadow models of finished runs find out together."""

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from steelyard.measurement import Artefact, Better, Measurement, Status
from steelyard.stored import StoredRun
from steelyard.trials import differing, read_trial
from steelyard.trials.folding import groups
from steelyard_privacy._accounting import default_delta
from steelyard_privacy._attack import Scores, area, hits
from steelyard_privacy._one_run import pure_bound
from steelyard_privacy._shadow import COLUMNS, KEY, TABLE
from steelyard_privacy._shadow_attack import LEAST, Losses, Members, lira, rmia, suffices
from steelyard_privacy.shadow import Shadow

Attack = Callable[[Losses, Members, int], Scores]
ATTACKS: Mapping[str, tuple[str, Attack]] = {
    "lira": ("LiRA (Carlini et al. 2022)", lira),
    "rmia": ("RMIA (Zarifzadeh et al. 2024)", rmia),
}
NAMES = ("lira_auc", "rmia_auc", "epsilon_lower_bound")
CONTROL_LEVEL = 0.999
LEARNT = 1e-3
"""What is left of the loss of an example in a model that knows it by heart; that of the others is a nat larger."""
MEANINGS = {
    "auc": "how well an attacker who trains models of his own tells who was trained on; 0.5 is guessing",
    "tpr_at_low_fpr": "which part of those who were trained on he finds, while hardly ever accusing anybody wrongly",
    "epsilon_lower_bound": "what the attack did find out: the training gives away at least this much, and a promise "
    "below it is broken",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Siblings:
    """The models of one config.

    Attributes:
        label: What sets the config apart.
        losses: (K, N), in nats.
        members: (K, N).
    """

    label: str
    losses: Losses
    members: Members


def verdicts(plugin: Shadow, runs: Sequence[StoredRun]) -> Iterator[Measurement | Artefact]:
    """The attacks on the models of each config."""
    found = _siblings(runs)
    for siblings in found:
        at: dict[str, str | float] = {"config": siblings.label} if len(found) > 1 else {}
        targets = [target for target in range(len(siblings.members)) if suffices(siblings.members, target)]
        if targets:
            yield from _attacked(plugin, siblings, targets, at)
            continue
        note = (
            f"{len(siblings.members)} siblings: a model is attacked with {LEAST} or more on other halves than its own "
            "and the rest, each example in some of them; -m privacy.shadow.model=0,1,2,3,4,5"
        )
        for name in NAMES:
            yield Measurement(name=name, status=Status.SKIPPED, note=note, at=at)


def _attacked(
    plugin: Shadow, siblings: Siblings, targets: Sequence[int], at: Mapping[str, str | float]
) -> Iterator[Measurement]:
    losses, members = siblings.losses, siblings.members
    first, count = members[targets[0]], members.shape[1]
    for short, (title, attack) in ATTACKS.items():
        failed = _blind(attack, losses, members, targets[0])
        words = f"{title} with {len(members)} models on random halves"
        prefix = f"{failed}; {words}" if failed else words
        one = _shared(at, failed)
        scores = attack(losses, members, targets[0])
        areas = [area(found[ours], found[~ours]) for found, ours in _each(attack, losses, members, targets)]
        mean = float(np.mean([found.value for found in areas]))
        # The targets share their examples, so that more of them need not make the mean surer than one of them is.
        half = max((found.interval[1] - found.interval[0]) / 2 for found in areas)
        yield Measurement(
            name=f"{short}_auc",
            value=mean,
            interval=(max(0.0, mean - half), min(1.0, mean + half)),
            count=count,
            note=f"{prefix}; mean over {len(targets)} attacked models, with the widest interval of a single one",
            meaning=MEANINGS["auc"],
            **one,
        )
        low = hits(scores[first], scores[~first], rate=plugin.false_positive_rate)
        yield Measurement(
            name=f"{short}_tpr_at_low_fpr",
            value=low.value,
            interval=low.interval,
            count=count,
            note=f"{prefix}; the first model, at {plugin.false_positive_rate:.1%} false positives",
            meaning=MEANINGS["tpr_at_low_fpr"],
            **one,
        )
        if attack is lira:
            delta = default_delta(int(first.sum())) if plugin.delta is None else plugin.delta
            yield Measurement(
                name="epsilon_lower_bound",
                value=pure_bound(scores, first, delta=delta, level=plugin.level),
                level=plugin.level,
                count=count,
                bounds=plugin.promise,
                note=f"{prefix}; the coins of the first model, guessed by their scores (Steinke et al. 2023), "
                f"delta={delta:.3g}, confidence {plugin.level:.0%}",
                meaning=MEANINGS["epsilon_lower_bound"],
                **one,
            )


def _shared(at: Mapping[str, str | float], failed: str) -> dict[str, Any]:
    status = Status.INVALID if failed else Status.MEASURED
    return {"status": status, "better": Better.LOWER, "split": "train", "at": at}


def _each(attack: Attack, losses: Losses, members: Members, targets: Sequence[int]) -> Iterator[tuple[Scores, Any]]:
    for target in targets:
        yield attack(losses, members, target), members[target]


def _blind(attack: Attack, losses: Losses, members: Members, target: int) -> str:
    """Two attacks whose outcome is known: on models that know their halves by heart, and on coins that nobody threw."""
    own = members[target]
    found = attack(np.where(members, LEARNT * losses, losses + 1), members, target)
    if area(found[own], found[~own], level=CONTROL_LEVEL).interval[0] <= 0.5:
        return "control: models that know their halves by heart are not caught"
    coins = np.random.default_rng(len(own)).integers(0, 2, size=len(own)).astype(bool)
    found = attack(losses, members, target)
    low, high = area(found[coins], found[~coins], level=CONTROL_LEVEL).interval
    return "" if low <= 0.5 <= high else "control: coins that nobody threw are guessed"


def _siblings(runs: Sequence[StoredRun]) -> list[Siblings]:
    """The runs that kept their losses, by config; without those on other examples than the first of their config."""
    kept = {run.folder: (run, rows) for run in runs if (rows := _read(run)) is not None}
    trials = [read_trial(folder, name=folder.name) for folder in kept]
    # The number of the model is what siblings differ in.
    alike = [
        replace(trial, leaves={key: value for key, value in trial.leaves.items() if key != f"{KEY}.model"})
        for trial in trials
    ]
    found: list[Siblings] = []
    for group in groups(alike, differing(alike)):
        first, (losses, _) = kept[group.trials[0].folder]
        same = [
            rows
            for run, rows in (kept[trial.folder] for trial in group.trials)
            if len(rows[0]) == len(losses)
            and run.provenance.get("data_fingerprint") == first.provenance.get("data_fingerprint")
        ]
        found.append(
            Siblings(
                label=group.label,
                losses=np.stack([rows[0] for rows in same]),
                members=np.stack([rows[1] for rows in same]),
            )
        )
    return found


def _read(run: StoredRun) -> tuple[Any, Any] | None:
    """Losses (N,) and members (N,) that a run kept, or None.

    Raises:
        ValueError: If the file holds something else.
    """
    sections = [section for section in run.scorecard.sections if section.key == KEY]
    paths = [item.path for section in sections for item in section.artefacts if item.path.endswith(f"/{TABLE}.csv")]
    if not paths:
        return None
    with (run.folder / paths[0]).open(encoding="utf-8", newline="") as file:
        head, *rows = csv.reader(file)
    if tuple(head) != COLUMNS or not rows:
        raise ValueError(f"{run.folder / paths[0]} holds no losses")
    members, losses = zip(*rows, strict=True)
    return np.array(losses, dtype=np.float64), np.array(members, dtype=np.float64) > 0.5
