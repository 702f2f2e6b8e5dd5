"""Run folders as the core writes them, made up by hand, so that reports are tested without training anything."""

import json
import struct
import zlib
from dataclasses import replace
from pathlib import Path

from steelyard.measurement import Better, Measurement, Status
from steelyard.scorecard import Judgement, Requirement, Scorecard, Section, StoredArtefact

CONFIG = """\
seed: {seed}
data:
  _target_: steelyard.data.Digits
  split_seed: 0
model:
  _target_: steelyard.models.MLP
  width: 128
optimizer:
  _target_: torch.optim.Adam
  lr: {lr}
privacy:
  {privacy}
"""


def png(width=120, height=60, *, shift=0):
    """A small picture: stripes, written by hand."""
    rows = b"".join(
        b"\0" + b"".join(bytes(((x * 2 + shift) % 256, (y * 4) % 256, 160)) for x in range(width))
        for y in range(height)
    )

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def fraction(name, value, *, half=0.02, better=Better.HIGHER, split="test", count=360, at=None, note="", **rest):
    interval = (max(0.0, value - half), min(1.0, value + half))
    return Measurement(
        name=name,
        value=value,
        better=better,
        interval=interval,
        count=count,
        split=split,
        at=at or {},
        note=note,
        **rest,
    )


def task(accuracy=0.9722, loss=0.1043):
    return Section(
        key="task",
        status=Status.MEASURED,
        measurements=(
            fraction("task.accuracy", accuracy, half=0.017, meaning="share of the test examples that it decides right"),
            Measurement(name="task.loss", value=loss, better=Better.LOWER, unit="nat", count=360, split="test"),
        ),
    )


def cost(step=0.0021):
    def timing(name, value, unit="s", better=Better.LOWER, **rest):
        return Measurement(name=f"compute.cost.{name}", value=value, unit=unit, better=better, timing=True, **rest)

    return Section(
        key="compute.cost",
        status=Status.MEASURED,
        settings={"warmup": 5, "every": 1},
        measurements=(
            timing(
                "step_seconds",
                step,
                interval=(0.98 * step, 1.02 * step),
                count=340,
                note="median of 340 steps after 5 to warm up",
                meaning="time that one training step takes",
            ),
            Measurement(name="compute.cost.parameters", value=101770.0, better=Better.LOWER),
            Measurement(name="compute.cost.flops_per_step", value=38_535_168.0, unit="FLOP", better=Better.LOWER),
            timing("train_seconds", 400 * step, note="with the warm-up of the process"),
            timing("examples_per_second", 64 / step, "examples/s", Better.HIGHER),
            timing("peak_memory", 412.4, "MiB", note="resident set of the process: it never shrinks"),
        ),
    )


def dp_sgd(epsilon=7.98):
    return Section(
        key="privacy.dp_sgd",
        status=Status.MEASURED,
        settings={"target_epsilon": 8.0, "delta": 1e-5, "max_grad_norm": 1.0, "noise_multiplier": None},
        measurements=(
            Measurement(
                name="privacy.dp_sgd.epsilon",
                value=epsilon,
                better=Better.LOWER,
                note="delta=1e-5, Poisson sampling, RDP accountant",
                meaning="upper bound on how much the model can say about any one training example; 0 says nothing",
            ),
            Measurement(name="privacy.dp_sgd.noise_multiplier", value=0.8713),
        ),
        hook_seconds=1.93,
    )


def membership(auc=0.561):
    return Section(
        key="privacy.membership",
        status=Status.MEASURED,
        settings={"level": 0.95, "bootstrap": 1000},
        measurements=(
            fraction(
                "privacy.membership.auc",
                auc,
                half=0.031,
                better=Better.LOWER,
                split="train",
                count=720,
                note="loss threshold, 360 members against 360 unseen",
                meaning="chance that the attack ranks a training example above an unseen one; 0.5 is guessing",
            ),
            fraction(
                "privacy.membership.tpr_at_1_fpr",
                0.014,
                half=0.01,
                better=Better.LOWER,
                split="train",
                note="share of members named while 1 % of the others are accused",
            ),
            Measurement(
                name="privacy.membership.epsilon_lower_bound",
                status=Status.SKIPPED,
                better=Better.LOWER,
                bounds="privacy.dp_sgd.epsilon",
                note="needs at least 1,000 members, there are 360",
            ),
            *(
                fraction("privacy.membership.tpr", rate**0.8, split="train", at={"fpr": rate})
                for rate in (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
            ),
        ),
        artefacts=(
            StoredArtefact(
                kind="picture",
                title="Losses of members and of unseen records",
                path="privacy/membership/losses.png",
                alt="Two histograms that nearly coincide",
                split="train",
            ),
        ),
        measure_seconds=0.42,
    )


def attribution(completeness=0.0031):
    fractions = (0.0, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0)
    kept = {
        "attribution": (0.97, 0.71, 0.48, 0.33, 0.21, 0.14, 0.1),
        "random": (0.97, 0.93, 0.86, 0.74, 0.51, 0.26, 0.1),
    }
    return Section(
        key="interpretability.attribution",
        status=Status.MEASURED,
        settings={"samples": 8, "steps": 64, "baseline": "black"},
        measurements=(
            Measurement(
                name="interpretability.attribution.completeness_error",
                value=completeness,
                better=Better.LOWER,
                count=8,
                split="val",
                note="largest relative gap between the sum of attributions and the change of the output",
            ),
            fraction("interpretability.attribution.randomised_similarity", 0.07, better=Better.LOWER, split="val"),
            *(
                fraction("interpretability.attribution.deletion", value, split="val", count=64, better=None, half=0.04,
                         at={"fraction": at, "order": order})
                for order, values in kept.items()
                for at, value in zip(fractions, values, strict=True)
            ),
        ),
        artefacts=(
            StoredArtefact(
                kind="picture",
                title="Eight validation digits and what their class rests on",
                path="interpretability/attribution/samples.png",
                alt="Eight digits with signed heat maps",
                split="val",
            ),
            StoredArtefact(
                kind="table", title="Samples", path="interpretability/attribution/samples.csv", split="val"
            ),
        ),
        measure_seconds=2.31,
    )  # fmt: skip


def noise(steep=1.0):
    levels = (0.0, 0.05, 0.1, 0.2, 0.4)
    return Section(
        key="stability.noise",
        status=Status.MEASURED,
        settings={"levels": [0.0, 0.05, 0.1, 0.2, 0.4], "draws": 4},
        measurements=(
            fraction(
                "stability.noise.worst_flips",
                min(1.0, 0.31 * steep),
                better=Better.LOWER,
                half=0.03,
                note="at level 0.4",
            ),
            *(
                fraction(
                    "stability.noise.flips",
                    min(1.0, 1.9 * level**2 * steep),
                    better=Better.LOWER,
                    at={"level": level},
                    meaning="share of the answers that change under noise of this level",
                )
                for level in levels
            ),
            *(
                fraction("stability.noise.accuracy", 0.972 - min(0.7, 1.5 * level**2 * steep), at={"level": level})
                for level in levels
            ),
        ),
        measure_seconds=0.37,
    )


def scorecard(*, private=False, seed=0, requirements=(), shift=0.0, extra=(), choices=None, overrides=None):
    """What the main job would weigh; `shift` moves the numbers a little, as another seed does."""
    parts = [task(0.9722 - 0.05 * private + shift, 0.1043 + 0.12 * private - shift), cost(0.0021 + 0.0034 * private)]
    parts += [dp_sgd()] if private else []
    parts += [membership(0.561 - 0.04 * private + shift), attribution(), noise(0.8 if private else 1.0), *extra]
    privacy = "dp_sgd,membership" if private else "membership"
    chosen = {"data": "digits", "model": "mlp", "privacy": privacy, "stability": "noise"} | dict(choices or {})
    words = ("experiment=first_look", f"privacy=[{privacy}]", f"seed={seed}") if overrides is None else overrides
    return Scorecard(
        title=f"digits, mlp, privacy={privacy}",
        spec="3f9a1c",
        seed=seed,
        sections=tuple(parts),
        requirements=tuple(requirements),
        choices=chosen,
        overrides=tuple(words),
        seconds=21.7,
        notes=("logger=none: curves of training are not kept",),
    )


def requirements(*, met=True):
    return (
        Requirement(name="privacy.dp_sgd.epsilon", bound="max", limit=8.0, held=7.98, judgement=Judgement.MET),
        Requirement(
            name="task.accuracy",
            bound="min",
            limit=0.9 if met else 0.95,
            held=0.905,
            judgement=Judgement.MET if met else Judgement.INCONCLUSIVE,
            reason="" if met else "the interval 0.905 to 0.939 straddles the limit",
        ),
    )


def write(folder: Path, card: Scorecard | None, *, state="done", exit_code=0, message="", config=None, provenance=None):
    """Writes a run folder."""
    folder.mkdir(parents=True)
    status = {
        "state": state,
        "exit_code": exit_code,
        "message": message,
        "started": 1764000000.0,
        "ended": 1764000021.7,
    }
    (folder / "status.json").write_text(json.dumps({**status, "pid": 1, "host": "h", "resumed": 0}))
    seed = card.seed if card else 0
    privacy = "dp_sgd: {target_epsilon: 8.0}" if card and "dp_sgd" in card.choices["privacy"] else "membership: {}"
    (folder / "config.yaml").write_text(config or CONFIG.format(seed=seed, lr=0.001, privacy=privacy))
    known = {
        "spec": "3f9a1c",
        "seed": seed,
        "choices": dict(card.choices) if card else {},
        "overrides": list(card.overrides) if card else ["privacy=[membership]"],
        "command": "steelyard run experiment=first_look",
        "data_fingerprint": "b5e1c0",
        "device": "cpu x86_64, 2 cores",
        "versions": {"steelyard": "0.1.0", "torch": "2.13.0+cpu"},
        "git": {"commit": "9ddeb43", "branch": "main", "dirty": False},
    }
    (folder / "provenance.json").write_text(json.dumps({**known, **(provenance or {})}))
    if card is None:
        return folder
    (folder / "scorecard.json").write_text(json.dumps(card.to_json()))
    for section in card.sections:
        for artefact in section.artefacts:
            path = folder / artefact.path
            path.parent.mkdir(parents=True, exist_ok=True)
            if artefact.kind == "picture":
                path.write_bytes(png(320, 120, shift=40 * ("dp_sgd" in card.title)))
            else:
                path.write_text("sample,label,decided,probability\n0,3,3,0.998\n1,8,9,0.512\n")
    return folder


def first_look(folder: Path):
    """The main job: a plain and a private trial."""
    write(folder / "0", scorecard())
    write(folder / "1", scorecard(private=True))
    return folder


def failing(section_key="stability.noise"):
    """A scorecard in which one section failed, one measurement is invalid and one was skipped."""
    card = scorecard(private=True, requirements=requirements(met=False))
    error = (
        'Traceback (most recent call last):\n  File "noise.py", line 3\nRuntimeError: <b>no</b> space left on device'
    )
    broken = tuple(
        replace(section, status=Status.FAILED, error=error, measurements=(), artefacts=())
        if section.key == section_key
        else section
        for section in card.sections
    )
    doubtful = Measurement(
        name="interpretability.attribution.agreement",
        value=0.4,
        better=Better.HIGHER,
        status=Status.INVALID,
        note="the randomised model scores the same",
    )
    sections = tuple(
        replace(section, measurements=(*section.measurements, doubtful))
        if section.key == "interpretability.attribution"
        else section
        for section in broken
    )
    return replace(card, sections=sections)
