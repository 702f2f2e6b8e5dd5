"""All tests of an attack on one model, the cheap ones first."""

from collections.abc import Iterator

from steelyard_stability.attacks.aim import ClassAim
from steelyard_stability.attacks.cascade import Attack, Plan
from steelyard_stability.attacks.scene import Scene
from steelyard_stability.masking.binarisation import binarisation
from steelyard_stability.masking.check import Check
from steelyard_stability.masking.contests import contests
from steelyard_stability.masking.slopes import Place, loss_of, slopes


def battery(scene: Scene, plan: Plan, *, least: float, rivals: bool = True) -> Iterator[Check]:
    """The tests, one by one.

    Args:
        scene: Examples under attack; its ball is the largest one.
        plan: The attack that is tested.
        least: The smallest radius: slopes are measured over half of it.
        rivals: Whether other attacks may take their time; without them the gradient alone is tested.
    """
    margin = bool({Attack.MARGIN, Attack.TARGET} & {*plan.attacks})
    yield from slopes(Place.of(scene, step=least / 2, loss=loss_of(scene.aim.climbs, margin=margin)))
    if not rivals:
        return
    if isinstance(scene.aim, ClassAim):
        found = binarisation(scene, plan)
        if found is not None:
            yield found
    yield from contests(scene, plan)
