"""What a private run says of its promise."""

from collections.abc import Iterator
from dataclasses import dataclass

from steelyard.measurement import Artefact, Better, Measurement, Picture, Status
from steelyard_privacy._accounting import Mechanism, accountant, other_opinion
from steelyard_privacy._pld import Bounds

POINTS = 10


@dataclass(slots=True, kw_only=True)
class Account:
    """What the accountant knows of the training so far; the checkpoint keeps it in plain numbers. Its steps go on.

    Attributes:
        steps: Private steps taken, of all sessions of the run.
        rate: Sampling rate.
        noise_multiplier: Noise over the clipping norm.
        delta: The probability that epsilon does not cover.
        population: Number of examples that could be drawn.
    """

    steps: int
    rate: float
    noise_multiplier: float
    delta: float
    population: int

    @property
    def mechanism(self) -> Mechanism:
        """One step."""
        return Mechanism(rate=self.rate, noise_multiplier=self.noise_multiplier, delta=self.delta)

    @property
    def epsilon(self) -> float:
        """What the steps cost."""
        return self.mechanism.epsilon(steps=self.steps)


@dataclass(frozen=True, kw_only=True)
class Clipping:
    """How many per-example gradients were longer than the clipping norm, in this session.

    The checkpoint does not keep it: it is counted without noise.
    """

    clipped: int
    seen: int
    max_norm: float
    moves: bool
    engine: str


NAMES = ("epsilon", "delta", "noise_multiplier", "steps")


def untold(reason: str) -> Iterator[Measurement]:
    """The promise of a run that makes none."""
    for name in NAMES:
        yield Measurement(name=name, status=Status.SKIPPED, note=reason)


def promised(account: Account, *, complaint: str = "") -> Iterator[Measurement | Artefact]:
    """Epsilon and what it rests on; invalid where a control complains."""
    mechanism, steps = account.mechanism, account.steps
    epsilon, opinion = mechanism.epsilon(steps=steps), other_opinion(mechanism, steps=steps)
    complaint = complaint or disagreement(epsilon, opinion)
    words = (
        f"delta={mechanism.delta:.3g}, noise multiplier {mechanism.noise_multiplier:.4g}, rate {mechanism.rate:.4g}, "
        f"{steps} steps, {account.population} examples; {accountant()}, Poisson sampling, "
        "neighbours differ by adding or removing one example"
    )
    status = Status.INVALID if complaint else Status.MEASURED
    yield Measurement(
        name="epsilon",
        value=epsilon,
        status=status,
        better=Better.LOWER,
        count=account.population,
        note=f"{complaint}; {words}" if complaint else words,
    )
    if opinion is not None:
        yield Measurement(
            name="epsilon_prv",
            value=(opinion.low + opinion.high) / 2,
            interval=(opinion.low, opinion.high),
            level=0.999,
            note="the same by Opacus' PRV accountant, with the error that it allows itself",
            meaning="a second accountant's answer to the same question; the promise is void where they disagree",
        )
    yield Measurement(name="delta", value=mechanism.delta, better=Better.LOWER, note="smaller than 1/N")
    yield Measurement(
        name="noise_multiplier",
        value=mechanism.noise_multiplier,
        note="standard deviation of the noise over the clipping norm",
    )
    yield Measurement(name="steps", value=float(steps), unit="steps", note="private steps, each of them accounted for")
    curve = [(step, mechanism.epsilon(steps=step)) for step in _grid(steps)]
    for step, epsilon in curve:
        yield Measurement(name="epsilon_at", value=epsilon, better=Better.LOWER, at={"step": float(step)}, note=words)
    if curve:
        yield _picture(curve, mechanism)


def disagreement(epsilon: float, opinion: Bounds | None) -> str:
    """What to complain of where a second accountant says that the true epsilon is larger than the promised one."""
    if opinion is None or epsilon >= opinion.low:
        return ""
    return f"Opacus' PRV accountant says that epsilon is at least {opinion.low:.4g}"


def clipping(account: Clipping) -> Measurement:
    """The share of examples that were clipped."""
    if account.seen == 0:
        return Measurement(name="clipped_fraction", status=Status.SKIPPED, note="no example was seen in this session")
    return Measurement(
        name="clipped_fraction",
        value=account.clipped / account.seen,
        count=account.seen,
        split="train",
        note=f"gradients longer than {'the norm of their step, at last ' if account.moves else ''}"
        f"{account.max_norm:.4g}, counted without noise (epsilon does not cover it); "
        f"engine={account.engine}",
    )


def _grid(steps: int) -> list[int]:
    return sorted({max(1, round(steps * point / POINTS)) for point in range(1, POINTS + 1)}) if steps else []


def _picture(curve: list[tuple[int, float]], mechanism: Mechanism) -> Picture:
    from steelyard_privacy._pictures import epsilon_curve

    return Picture(
        name="epsilon_over_steps",
        title="What the training has cost in privacy, step by step",
        png=epsilon_curve(curve, delta=mechanism.delta),
        alt=f"Epsilon rises from {curve[0][1]:.3g} at step {curve[0][0]} to {curve[-1][1]:.3g} at step {curve[-1][0]}.",
    )
