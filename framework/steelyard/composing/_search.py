"""A search: trials that are composed one by one, when Hydra's own sweep is long over."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf

from steelyard import extras
from steelyard.composing._alone import alone
from steelyard.composing._catalogue import Raw, look
from steelyard.composing._trial import Trial, make_trial
from steelyard.problem import Refused, refuse
from steelyard.schema import build
from steelyard.sweeping.settings import Searching, Sweep
from steelyard.sweeping.space import Choice, Space


@dataclass(frozen=True, kw_only=True)
class Search:
    """What a search asks for, and how its trials are composed.

    Attributes:
        settings: Of the search.
        space: What it looks through.
        sweep: How its trials are run.
        look: Number and words of a job -> what Hydra makes of them.
        elsewhere: Keys of plugins that some trial may select.
    """

    settings: Searching
    space: Space
    sweep: Sweep
    look: Callable[[int, Sequence[str]], Raw]
    elsewhere: frozenset[str]

    def compose(self, number: int, values: Sequence[str]) -> Trial:
        """The trial with these values, one for each dimension of the space; composed or refused."""
        words = self.space.words(values)
        try:
            raw = self.look(number, words)
        except Refused as refused:
            return Trial(number=number, overrides=words, config=OmegaConf.create(), refused=refused)
        return make_trial(raw, self.elsewhere)


def search(
    *,
    settings: Searching,
    space: Space,
    composed: Callable[[int, Sequence[str]], DictConfig],
    check: Callable[[Any], None],
) -> Search:
    """A search that can compose when Hydra's own sweep is over.

    Args:
        settings: Of the search.
        space: What it looks through.
        composed: Number and words of a job -> its config, by Hydra, `hydra` included.
        check: Refuses what of Hydra is not supported.

    Raises:
        Refused: If it does not say what for, or Hydra is asked for what is not supported.
    """
    _check(settings)
    hydra = GlobalHydra.instance().hydra

    def see(number: int, words: Sequence[str]) -> Raw:
        with alone():
            GlobalHydra.instance().hydra = hydra
            whole = composed(number, words)
            own: Any = whole.hydra
            OmegaConf.set_struct(whole, False)
            del whole["hydra"]
            check(own)
            return look(whole, own, number=number)

    first = [one.options[0] if isinstance(one, Choice) else one.text(one.low) for one in space.dimensions]
    plain = see(0, space.words(first))
    fillers = set(plain.fillers)
    # Settings of a plugin that another trial may select are no mistake in those that do not.
    for place, one in enumerate(space.dimensions):
        if isinstance(one, Choice) and one.key in plain.choices:
            for option in one.options[1:]:
                fillers.update(see(0, space.words([*first[:place], option, *first[place + 1 :]])).fillers)
    sweep = build(Sweep, plain.config.get("sweep") or {}, path="sweep")
    return Search(settings=settings, space=space, sweep=sweep, look=see, elsewhere=frozenset(fillers))


def _check(settings: Searching) -> None:
    both = sorted(set(settings.maximize) & set(settings.minimize))
    if both:
        fix = f"hydra.sweeper.minimize=[{','.join(name for name in settings.minimize if name not in both)}]"
        raise refuse(f"{both[0]} cannot be maximised and minimised", fix=fix)
    if not settings.objectives:
        fix = "hydra.sweeper.maximize=[task.accuracy]"
        raise refuse("hydra/sweeper=optuna has to know what is better: the names of measurements", fix=fix)
    if settings.prune and len(settings.objectives) > 1:
        message = "hydra.sweeper.prune compares running trials by one number, and there are several objectives"
        raise refuse(message, fix="hydra.sweeper.prune=null")
    extras.require("optuna", extra="optuna")
