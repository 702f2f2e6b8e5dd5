"""The advisor: which lever at which batch size fits a budget, what it would take, and what it costs in exactness."""

import functools
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from steelyard import registry, resident
from steelyard.devices import first_gpu, on_gpu
from steelyard.estimating._heap import LEAN, rules_of
from steelyard.estimating.estimate import Estimate
from steelyard.estimating.in_words import size
from steelyard.estimating.machines import CONTEXT, GIB, free_bytes
from steelyard.estimating.probing import Probed, probe
from steelyard.estimating.settings import Planning
from steelyard.lever import Lever
from steelyard.problem import Refused, refuse
from steelyard.report.numbers import duration
from steelyard.short_memory import ran_out
from steelyard.sweeping.pool import share, side_by_side

HALVINGS = 4
"""Smaller batches that are tried of each lever."""
TRIED = 3
"""Configs at the top of the list that a probe really trains."""
LEAN_TIME = 2.0
"""Over the time of a step, with an allocator that gives back what is freed: 1.35 to 2.5 on three models."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A config that was looked at.

    Attributes:
        words: The overrides that make it, to add to those of the plan.
        costs: What it costs in exactness; "" for nothing.
        exact: True if training comes to the same weights, but for rounding in 32 bits.
        estimate: From shapes alone.
        steps: Optimizer steps of the whole training; None where its end is open.
        fits: Whether it stays within the memory.
        seconds: Of the whole training, predicted; None where nobody can tell.
        probed: True if `seconds` comes from a few real steps of this config.
        lean: True if it only fits with an allocator that gives back what is freed.
    """

    words: tuple[str, ...]
    costs: str
    exact: bool
    estimate: Estimate
    steps: int | None
    fits: bool = True
    seconds: float | None = None
    probed: bool = False
    lean: bool = False

    @property
    def need(self) -> int:
        """Bytes that a process on the CPU, or a GPU, should be left for it."""
        return need(self.estimate, lean=self.lean)

    @property
    def environment(self) -> Mapping[str, str]:
        """What must be set before the process starts."""
        return LEAN if self.lean else {}

    def saved(self, plain: Estimate) -> float:
        """The share of the tensors' memory that it does without."""
        return 1 - self.estimate.tensor_bytes / plain.tensor_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """Configs, the best first.

    Attributes:
        memory: The limit in bytes.
        seconds: The limit; None for none.
        ranked: Those that stay within both, the exact before the others, then the faster before the slower.
        rest: How many were looked at and do not.
        how: Where the times come from.
        plain: The config as it is; None where it cannot be rehearsed.
    """

    memory: int
    seconds: float | None
    ranked: tuple[Candidate, ...]
    rest: int
    how: str
    plain: Estimate | None = None

    def text(self) -> str:
        """For the terminal."""
        limits = f"{size(self.memory)} of memory" + (f" and {duration(self.seconds)}" if self.seconds else "")
        if not self.ranked:
            return f"nothing of {self.rest} configs stays within {limits}: a smaller model, or another machine"
        lines = [f"{len(self.ranked)} of {len(self.ranked) + self.rest} configs stay within {limits}", HEAD]
        for place, one in enumerate(self.ranked, start=1):
            took = "an open time" if one.seconds is None else f"about {duration(one.seconds)}"
            took += " (probed)" if one.probed else ""
            tensors = size(one.estimate.tensor_bytes)
            tensors += "" if self.plain is None else f" ({-one.saved(self.plain):+.0%})"
            costs = "; ".join(filter(None, [one.costs or "exact", "slower steps" if one.lean else ""]))
            lines.append(f"{place:>3}  {size(one.need):>10}  {tensors:<18}  {took:<24}  {costs}")
            before = [f"{name}={value}" for name, value in one.environment.items()]
            words = " ".join(one.words) or "(as it is)"
            lines.append(f"     {' '.join([*before, 'steelyard run ...', words]) if before else words}")
        return "\n".join([*lines, f"times: {self.how}", f"memory: {CERTAIN}"])


HEAD = "       to leave  tensors             time"
CERTAIN = (
    "to leave is what the process is not known to pass, with a reserve for the holes of its heap, which differ from "
    "run to run; tensors, and what is saved of them against the config as it is, are mostly within 1 %"
)


def need(estimate: Estimate, *, lean: bool = False) -> int:
    """Bytes that a process on the CPU, or a GPU, should be left for a training, a reserve included."""
    # An environment that sets its allocator has no other.
    given_back = lean or not rules_of().dynamic
    return estimate.lean_bytes if given_back and estimate.lean_bytes else estimate.safe_bytes


def limit_of(config: DictConfig, settings: Planning) -> int:
    """Bytes that training may take, of main memory or of the GPU that it will run on.

    Raises:
        Refused: If none is given and nobody says what is free.
    """
    if settings.gb is not None:
        return int(settings.gb * 1e9)
    if on_gpu(config.get("trainer") or {}):
        free = first_gpu().free
        if free is None:
            raise refuse("nobody says how much memory of the GPU is free: pip install nvidia-ml-py", fix="plan.gb=8")
        return max(0, free - int(CONTEXT * GIB))
    free = free_bytes()
    if free is None:
        raise refuse("this system does not say how much memory is free", fix="plan.gb=8")
    return free


def advise(config: DictConfig, settings: Planning) -> Advice:
    """Looks at every lever that is installed, alone and with another one, at smaller and smaller batches until it fits.

    Nothing is trained but a few steps of the config as it is, in a process of its own and only if it fits; with
    `settings.probe` also a few of the best.
    """
    memory = limit_of(config, settings)
    sets = _lever_sets(config)
    works = {number: functools.partial(_fitted, config, one, memory) for number, one in enumerate(sets)}
    workers, threads = share(None, len(works))
    found = side_by_side(works, workers=workers, threads=threads)
    looked = [one for number in sorted(found) for one in found[number].best]
    plain = found[0].whole
    rate, how = _rate(config, plain)
    timed = [replace(one, seconds=_seconds(one, rate)) for one in looked]
    ranked = sorted((one for one in timed if _within(one, settings)), key=_order)
    if settings.probe:
        ranked = sorted((one for one in _tried(config, ranked) if _within(one, settings)), key=_order)
    return Advice(
        memory=memory,
        seconds=settings.seconds,
        ranked=tuple(ranked),
        rest=len(looked) - len(ranked),
        how=how,
        plain=None if plain is None else plain.estimate,
    )


def _order(one: Candidate) -> tuple[bool, float, int]:
    return not one.exact, float("inf") if one.seconds is None else one.seconds, one.need


def _within(one: Candidate, settings: Planning) -> bool:
    return one.fits and (settings.seconds is None or one.seconds is None or one.seconds <= settings.seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Set:
    """Levers that are pulled together.

    Attributes:
        levers: Plugin key -> lever.
    """

    levers: Mapping[str, Lever] = field(default_factory=dict[str, Lever])

    @property
    def costs(self) -> str:
        return "; ".join(dict.fromkeys(lever.costs for lever in self.levers.values() if lever.costs))

    @property
    def exact(self) -> bool:
        return all(lever.exact for lever in self.levers.values())

    @property
    def multiplier(self) -> str:
        """The path of the option that puts small batches together, if one of the levers has it."""
        options = [f"{key}.{lever.multiplies}" for key, lever in self.levers.items() if lever.multiplies]
        return options[0] if options else ""


def _lever_sets(config: DictConfig) -> list[_Set]:
    """Nothing, each lever that is installed and not pulled already, and each pair."""
    levers: dict[str, Lever] = {}
    for challenge, names in registry.challenges().items():
        for name in names:
            key = f"{challenge}.{name}"
            if name not in (config.get(challenge) or {}):
                found = _lever(key)
                if found is not None:
                    levers[key] = found
    keys = sorted(levers)
    pairs = [(one, other) for place, one in enumerate(keys) for other in keys[place + 1 :]]
    return [_Set(levers={key: levers[key] for key in some}) for some in ((), *((key,) for key in keys), *pairs)]


def _lever(key: str) -> Lever | None:
    try:
        plugin = registry.load(key)
    except Refused:
        return None
    return None if list(registry.missing(plugin, key=key)) else plugin.lever


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """Of one set of levers.

    Attributes:
        whole: With the largest batch; None where these levers do not go together.
        best: The largest batch that fits, and a larger one that only fits with another allocator; else the smallest
            that was tried.
    """

    whole: Candidate | None
    best: Sequence[Candidate]


def _fitted(config: DictConfig, levers: _Set, memory: int) -> _Found:
    batch = OmegaConf.select(config, "data.batch_size")
    rows = batch if isinstance(batch, int) else None
    tried: list[Candidate] = []
    best: list[Candidate] = []
    for halvings in range(HALVINGS + 1):
        parts = 2**halvings
        if parts > 1 and (rows is None or rows % parts):
            break
        if parts == 1 and levers.multiplier:
            continue
        one = _candidate(config, levers, rows=rows, parts=parts, memory=memory)
        if one is None:
            break
        tried.append(one)
        if one.fits:
            best.append(one)
            break
        lean = replace(one, lean=True, fits=True)
        if not best and lean.need <= memory:
            best.append(lean)
    return _Found(whole=tried[0] if tried else None, best=best or tried[-1:])


def _candidate(config: DictConfig, levers: _Set, *, rows: int | None, parts: int, memory: int) -> Candidate | None:
    """None where these levers do not go together, or with the rest of the config."""
    from steelyard.planning import foreseen

    words = [*_choices(config, levers)]
    if parts > 1 and rows is not None:
        words.append(f"data.batch_size={rows // parts}")
        if levers.multiplier:
            words.append(f"{levers.multiplier}={parts}")
    try:
        seen = foreseen(changed(config, words, levers.levers))
    except Refused:
        return None
    if seen.estimate is None or seen.notes:
        return None
    other = parts > 1 and not levers.multiplier
    costs = [levers.costs, f"batches of {rows // parts} train differently" if other and rows is not None else ""]
    return Candidate(
        words=tuple(words),
        costs="; ".join(filter(None, costs)),
        exact=levers.exact and not other,
        estimate=seen.estimate,
        steps=seen.steps,
        fits=need(seen.estimate) <= memory,
    )


def _choices(config: DictConfig, levers: _Set) -> Iterator[str]:
    """The words that select the levers beside what is selected already."""
    for challenge in dict.fromkeys(key.partition(".")[0] for key in levers.levers):
        added = [key.partition(".")[2] for key in levers.levers if key.startswith(f"{challenge}.")]
        yield f"{challenge}=[{','.join([*map(str, config.get(challenge) or {}), *added])}]"


def changed(config: DictConfig, words: Sequence[str], plugins: Mapping[str, Any]) -> DictConfig:
    """The config that the words would make: plugins at their defaults, and values in place of others."""
    made = config.copy()
    for key in plugins:
        OmegaConf.update(made, key, {}, force_add=True)
    for word in words:
        path, _, value = word.partition("=")
        if not value.startswith("["):
            OmegaConf.update(made, path, int(value), force_add=True)
    return made


def _rate(config: DictConfig, plain: Candidate | None) -> tuple[dict[str, float], str]:
    """FLOP/s by number format: those that a few steps of the config as it is reach, else those of matrix products."""
    formats = {"32-true": torch.float32, "16": torch.bfloat16}
    speed = {name: _products(kind) for name, kind in formats.items()}
    if plain is None or not plain.fits:
        return speed, "as if large matrix products were all of it, since the config as it is does not fit: too low"
    probed = _probed(config)
    if probed is None:
        return (
            speed,
            "as if large matrix products were all of it, since memory ran out for the config as it is: too low",
        )
    own = _kind(plain.estimate.precision)
    reached = plain.estimate.flops / (probed.seconds * plain.estimate.batches)
    return (
        {name: reached * one / speed[own] for name, one in speed.items()},
        f"from {probed.steps} real steps of the config as it is ({duration(probed.seconds)} each) and the FLOPs of "
        "the others; rough (plan.probe=true tries the first)",
    )


def _seconds(one: Candidate, rate: Mapping[str, float]) -> float | None:
    if one.steps is None:
        return None
    return (LEAN_TIME if one.lean else 1.0) * one.steps * one.estimate.flops / rate[_kind(one.estimate.precision)]


def _kind(precision: str) -> str:
    return "16" if "16" in precision else "32-true"


def _products(kind: torch.dtype) -> float:
    """FLOP/s of a large product of matrices."""
    side = 512
    one = torch.ones(side, side, dtype=kind)
    best = float("inf")
    for _ in range(4):
        begun = time.perf_counter()
        torch.mm(one, one)
        best = min(best, time.perf_counter() - begun)
    return 2 * side**3 / best


def _tried(config: DictConfig, ranked: Sequence[Candidate]) -> Iterator[Candidate]:
    """Those at the top with the time that a few of their own steps tell."""
    for place, one in enumerate(ranked):
        if place >= TRIED or one.steps is None:
            yield one
            continue
        keys = [key for word in one.words if "=[" in word for key in _keys(word)]
        probed = _probed(changed(config, one.words, dict.fromkeys(keys)), lean=one.lean)
        if probed is None:
            # It does not fit after all.
            continue
        yield replace(one, seconds=probed.training(one.steps * one.estimate.batches), probed=True)


def _keys(word: str) -> list[str]:
    challenge, _, names = word.partition("=")
    return [f"{challenge}.{name}" for name in names.strip("[]").split(",")]


def _probed(config: DictConfig, *, lean: bool = False) -> Probed | None:
    """In a process of its own, which leaves nothing behind; None where its memory ran out."""
    _, threads = share(None, 1)

    def tried() -> Probed | None:
        if lean:
            resident.give_back(rules_of(LEAN).mmap)
        try:
            return probe(config)
        except Exception as error:
            if ran_out(error):
                return None
            raise

    return side_by_side({0: tried}, workers=1, threads=threads)[0]
