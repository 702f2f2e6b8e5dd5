"""One attack after the other, cheap ones first, each on what the ones before it left standing."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import torch
from torch import Tensor

from steelyard_stability.attacks.aim import LIKELIHOOD, Climb, Loss
from steelyard_stability.attacks.apgd import apgd
from steelyard_stability.attacks.pgd import Steps, fgsm, pgd, random_start
from steelyard_stability.attacks.scene import Found, Scene
from steelyard_stability.attacks.square import square


class Attack(StrEnum):
    """The attacks that a cascade may be made of."""

    FGSM = "fgsm"
    """One step on the likelihood."""
    PGD = "pgd"
    """Steps of one length on the likelihood, from the clean input or what a smaller ball gave, then from chance."""
    APGD = "apgd"
    """Steps that find their length, on the likelihood; of two classes the margin does the same and takes its place."""
    MARGIN = "margin"
    """The same on the margin, as a ratio where there are three classes: scaled logits do not stop it."""
    TARGET = "target"
    """The same towards each of the likeliest other classes."""
    SQUARE = "square"
    """Random squares; no gradient."""


EVERY = tuple(Attack)
SCOUTS = (Attack.FGSM, Attack.PGD)
"""What goes ahead of a dear cascade, to find the radius at which it is worth its time."""
SCOUTED = 5
"""Steps of a scout."""
CHEAPER = 3
"""How many times the effort of a scout a cascade must take for one to be sent."""
FORWARD = 3
"""Questions that take the time of one look forward and back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a cascade does.

    Attributes:
        attacks: In this order.
        steps: Gradient steps of each attack and start.
        restarts: Random starts of PGD, APGD and the margin.
        targets: Other classes that are tried one by one.
        queries: Questions of the black box attack.
    """

    attacks: Sequence[Attack] = EVERY
    steps: int = 40
    restarts: int = 1
    targets: int = 3
    queries: int = 200

    @property
    def effort(self) -> int:
        """About how many looks it takes to withstand all of it."""
        walk, starts = self.steps + 1, self.restarts
        each = {
            Attack.FGSM: 2,
            Attack.PGD: walk * (1 + starts),
            Attack.APGD: walk * starts,
            Attack.MARGIN: walk * starts,
            Attack.TARGET: walk * self.targets,
            Attack.SQUARE: self.queries // FORWARD,
        }
        return sum(each[attack] for attack in self.attacks)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fall:
    """What became of the examples of a scene in one ball.

    Attributes:
        inputs: The input that fooled the model, in the smallest ball in which one was found; else the last one tried.
        fooled: Whether the decision can be changed (N,).
        finished: Whether that is known: fooled, or every attack came to its end (N,).
        by: How many examples each attack was the first to fool.
        looks: Rows through the model.
    """

    inputs: Tensor
    fooled: Tensor
    finished: Tensor
    by: Mapping[str, int]
    looks: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Siege:
    """What became of b rows in one ball.

    Attributes:
        inputs: One that fools the model, else the last one tried (b, ...).
        fooled: (b,).
        credit: Which attack of the plan was the first to fool each, -1 for none (b,).
        whole: Whether every attack came to its end.
        looks: Rows through the model.
    """

    inputs: Tensor
    fooled: Tensor
    credit: Tensor
    whole: bool
    looks: int


def curve(scene: Scene, radii: Sequence[float], plan: Plan) -> list[Fall]:
    """The smallest of the radii at which each example falls, by halving: the cascade meets it at few of them.

    A dear cascade is preceded by the cheap beginning of it, which finds out at which of them it is worth its time.

    Who falls in a ball falls in every larger one. Who withstands the cascade in a ball counts as standing in the
    smaller ones, too, since all that is in them was within its reach; like every example that stands it is one for
    which nothing was found, no proof.

    Args:
        scene: Where; its ball gives the norm and the bounds.
        radii: Above 0 and rising.
        plan: What is tried.
    """
    search = _Search.of(scene, radii, plan)
    scout = _scout(plan)
    first = len(radii) > 1 and bool(scout.attacks) and scout.effort * CHEAPER <= plan.effort
    if first:
        search.scouted(scout)
    search.decided(scouted=first)
    kept, worst, stood, fell = search.kept, search.worst, search.stood, search.fell
    falls: list[Fall] = []
    for place in range(len(radii)):
        fooled = fell <= place
        # Where nothing was withstood, a scout may have come farther than this ball reaches.
        inside = torch.where(_wide((stood >= 0) & (stood <= place), kept), kept, scene.centre)
        falls.append(
            Fall(
                inputs=torch.where(_wide(fooled, worst), worst, inside),
                fooled=fooled,
                finished=fooled | (stood >= place),
                by=_counted(plan, search.credit[fell == place]),
                looks=search.looks[place],
            )
        )
    return falls


@dataclass(slots=True, kw_only=True)
class _Search:
    """Where each example is known to stand and to fall, by the places of the radii.

    Attributes:
        scene: Where.
        radii: R of them, rising.
        plan: The whole cascade.
        stood: Place of the largest radius withstood, -1 for none (N,).
        fell: Place of the smallest one that was too much, R for none (N,).
        credit: Which attack of the plan found that, -1 for none (N,).
        kept: Where the next larger ball is begun from (N, ...).
        worst: What fooled the model in the smallest ball in which something did (N, ...).
        looks: Rows through the model, by place.
    """

    scene: Scene
    radii: Sequence[float]
    plan: Plan
    stood: Tensor
    fell: Tensor
    credit: Tensor
    kept: Tensor
    worst: Tensor
    looks: list[int]

    @staticmethod
    def of(scene: Scene, radii: Sequence[float], plan: Plan) -> "_Search":
        """Before anything is known."""
        none = torch.full((len(scene.centre),), -1, device=scene.centre.device)
        return _Search(
            scene=scene,
            radii=radii,
            plan=plan,
            stood=none,
            fell=torch.full_like(none, len(radii)),
            credit=none.clone(),
            kept=scene.centre.clone(),
            worst=scene.centre.clone(),
            looks=[0] * len(radii),
        )

    def scouted(self, scout: Plan) -> None:
        """By halving: what a scout withstands tells nothing but where to go next, what fools it is a fall for good."""
        reached, goes_on = self.stood.clone(), torch.ones_like(self.stood, dtype=torch.bool)
        while bool((unsure := goes_on & (self.fell - reached > 1)).any()):
            middle = (reached + self.fell) // 2
            for place in sorted({int(one) for one in middle[unsure]}):
                rows = (unsure & (middle == place)).nonzero()[:, 0]
                siege = self._met(place, rows, scout)
                held = rows[~siege.fooled]
                reached[held], self.kept[held] = place, siege.inputs[~siege.fooled]
                goes_on[held] = siege.whole

    def decided(self, *, scouted: bool) -> None:
        """The whole cascade by halving; after a scout first just below the radius at which that found something."""
        goes_on = torch.ones_like(self.stood, dtype=torch.bool)
        middle = self.fell - 1 if scouted else (self.stood + self.fell) // 2
        while bool((unsure := goes_on & (self.fell - self.stood > 1)).any()):
            for place in sorted({int(one) for one in middle[unsure]}):
                rows = (unsure & (middle == place)).nonzero()[:, 0]
                siege = self._met(place, rows, self.plan)
                held = rows[~siege.fooled]
                if siege.whole:
                    self.stood[held], self.kept[held] = place, siege.inputs[~siege.fooled]
                else:
                    goes_on[held] = False
            middle = (self.stood + self.fell) // 2

    def _met(self, place: int, rows: Tensor, plan: Plan) -> _Siege:
        """Those rows in the ball of that place; who falls is noted."""
        siege = _besiege(_at(self.scene, self.radii[place]), plan, rows, self.kept)
        lost = rows[siege.fooled]
        names = torch.tensor([self.plan.attacks.index(attack) for attack in plan.attacks], device=rows.device)
        self.fell[lost], self.worst[lost] = place, siege.inputs[siege.fooled]
        self.credit[lost] = names[siege.credit[siege.fooled]]
        self.looks[place] += siege.looks
        return siege


def _scout(plan: Plan) -> Plan:
    """The cheap beginning of a plan."""
    attacks = [attack for attack in plan.attacks if attack in SCOUTS]
    return replace(plan, attacks=attacks, steps=min(SCOUTED, plan.steps), restarts=0)


def cascade(scene: Scene, plan: Plan) -> Fall:
    """Every attack of the plan on the examples that the ones before it did not fool, in one ball.

    Args:
        scene: Where.
        plan: What is tried.
    """
    rows = torch.arange(len(scene.centre), device=scene.centre.device)
    siege = _besiege(scene, plan, rows, scene.centre)
    return Fall(
        inputs=siege.inputs,
        fooled=siege.fooled,
        finished=siege.fooled | siege.whole,
        by=_counted(plan, siege.credit),
        looks=siege.looks,
    )


def _besiege(scene: Scene, plan: Plan, rows: Tensor, start: Tensor) -> _Siege:
    """The attacks on some rows; `start` (N, ...) is where the first steps begin, inside the ball."""
    inputs, fooled = start[rows], torch.zeros(len(rows), dtype=torch.bool, device=rows.device)
    credit = torch.full_like(rows, -1)
    looks, whole = 0, True
    for number, attack in enumerate(plan.attacks):
        for move in _ways(attack, scene, plan, start):
            left = (~fooled).nonzero()[:, 0]
            if not len(left):
                break
            found = move(rows[left])
            inputs[left], fooled[left] = found.inputs, found.fooled
            credit[left[found.fooled]] = number
            looks, whole = looks + found.looks, whole and found.whole
    return _Siege(inputs=inputs, fooled=fooled, credit=credit, whole=whole, looks=looks)


def _at(scene: Scene, radius: float) -> Scene:
    return replace(scene, ball=replace(scene.ball, radius=radius))


def _counted(plan: Plan, credit: Tensor) -> dict[str, int]:
    return {attack: int((credit == number).sum()) for number, attack in enumerate(plan.attacks)}


def _wide(flags: Tensor, like: Tensor) -> Tensor:
    return flags.reshape(-1, *[1] * (like.dim() - 1))


Move = Callable[[Tensor], Found]


def _ways(attack: Attack, scene: Scene, plan: Plan, start: Tensor) -> Iterator[Move]:
    climbs = scene.aim.climbs
    match attack:
        case Attack.FGSM:
            yield lambda rows: fgsm(scene, rows)
        case Attack.PGD:
            steps = Steps(count=plan.steps)
            yield lambda rows: pgd(scene, rows, start[rows], steps=steps)
            for stream in _streams(plan):
                yield lambda rows, stream=stream: pgd(
                    scene, rows, random_start(scene, rows, stream=stream), steps=steps
                )
        case Attack.APGD:
            # Of two classes the likelihood rises where the margin does, so that both would take the same steps.
            if not (scene.aim.others == 1 and Attack.MARGIN in plan.attacks):
                yield from _adaptive(scene, plan, LIKELIHOOD)
        case Attack.MARGIN:
            if climbs & {Climb.RATIO, Climb.MARGIN}:
                yield from _adaptive(scene, plan, Loss(climb=Climb.RATIO if Climb.RATIO in climbs else Climb.MARGIN))
        case Attack.TARGET:
            # Of two classes the other one is what the margin goes for already.
            for rank in range(1, 1 + min(plan.targets, scene.aim.others) if scene.aim.others > 1 else 0):
                yield from _adaptive(scene, replace(plan, restarts=1), Loss(climb=Climb.TARGET, rank=rank))
        case Attack.SQUARE:
            yield lambda rows: square(scene, rows, count=plan.queries)


def _adaptive(scene: Scene, plan: Plan, loss: Loss) -> Iterator[Move]:
    for stream in _streams(plan):
        yield lambda rows, stream=stream: apgd(
            scene, rows, random_start(scene, rows, stream=stream), count=plan.steps, loss=loss
        )


def _streams(plan: Plan) -> range:
    """A draw in an L2 ball takes two streams."""
    return range(0, 2 * plan.restarts, 2)
