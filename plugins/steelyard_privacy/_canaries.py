# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""The live half of `privacy=canaries`."""

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, final

import numpy as np
import torch
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor, nn
from torch.optim import Optimizer

from steelyard.attachment import Attachment
from steelyard.draft import Draft, Step
from steelyard.measurement import Artefact, Better, Measurement, Status
from steelyard.problem import refuse
from steelyard.runs import Run
from steelyard.seam import Seam
from steelyard_privacy._accounting import default_delta
from steelyard_privacy._canary_marks import how_many, marked, population, without_marks
from steelyard_privacy._meanings import meant
from steelyard_privacy._one_run import Coins, Scores, gaussian_bound, guesses, pure_bound
from steelyard_privacy.canaries import Canaries

MODULE = "steelyard_canaries"
CONTROL_LEVEL = 0.999
NAMES = ("epsilon_lower_bound", "epsilon_lower_bound_fdp", "guessed_right")
HALVES = math.sqrt(2)


def attach(plugin: Canaries, draft: Draft) -> "CanaryAudit":
    """The attachment; its marks are put on the loader, its weights into the task."""
    audit = CanaryAudit(plugin, indices=population(draft.data).indices, draft=draft)
    draft.loaders.append(audit.marked)
    draft.steps[Seam.BATCHES].append(audit.carrying)
    draft.task.add_module(MODULE, audit.weights)
    return audit


@final
class CanaryWeights(nn.Module):
    """Two numbers for each canary, zero and never moved: only their gradient matters.

    They are two layers, so that a canary has a gradient in more than one of them. No checkpoint knows of them.
    """

    def __init__(self, count: int) -> None:
        super().__init__()
        # The last place belongs to the examples without a canary.
        self.left = _zeros(count + 1)
        self.right = _zeros(count + 1)
        self.register_state_dict_post_hook(_forget)
        self.register_load_state_dict_pre_hook(_keep)

    def forward(self, marks: Tensor) -> Tensor:
        """Numbers (n,) of which those of examples without a canary do not depend on any weight."""
        places = torch.where(marks < 0, self.left.num_embeddings - 1, marks)
        values = (self.left(places) + self.right(places))[:, 0] / HALVES
        return values * (marks >= 0)

    def gradient(self) -> Tensor | None:
        """What came of each canary's gradient, (m,), of length one where it arrived whole; then forgets it."""
        left, right = self.left.weight.grad, self.right.weight.grad
        # Without a gradient no optimizer moves them, and nothing that clips or counts gradients sees them.
        self.left.weight.grad = self.right.weight.grad = None
        if left is None or right is None:
            return None
        return (left.double() + right.double())[:-1, 0].cpu() / HALVES


@final
class CanaryAudit(Attachment):
    """Plays both parts: who throws the coins, and the attacker who guesses them from the gradients."""

    def __init__(self, plugin: Canaries, *, indices: Any, draft: Draft) -> None:
        seed = draft.seed
        self._plugin = plugin
        self._task = draft.task
        # Without numbers there is nothing to count.
        self._counts = not draft.rehearsal
        self._size = len(indices)
        count = how_many(plugin, self._size)
        generator = _generator(seed, "choice")
        self.weights = CanaryWeights(count)
        self.coins: Coins = generator.integers(0, 2, size=count).astype(bool)
        chosen = generator.choice(self._size, size=count, replace=False)
        self._marks = {int(indices[int(place)]): mark for mark, place in enumerate(chosen) if self.coins[mark]}
        self._fresh: Coins = _generator(seed, "control").integers(0, 2, size=count).astype(bool)
        self._sums = torch.zeros(count, dtype=torch.float64)
        self._seen = torch.zeros(count, dtype=torch.float64)
        self._steps, self._unseen = 0, 0

    def marked(self, loader: Iterable[Any]) -> Any:
        """The same examples; those with a canary are marked."""
        return marked(loader, self._marks)

    def carrying(self, inner: Step) -> Step:
        """A training step whose marked examples have their canary's gradient, too, and that has the same loss."""

        def step(batch: Any, *rest: Any, **named: Any) -> Any:
            plain, marks = without_marks(batch)
            output = inner(plain, *rest, **named)
            loss: Any = output.get("loss") if isinstance(output, Mapping) else output
            if loss is None or not len(marks):
                return output
            if self._counts:
                np.add.at(self._seen.numpy(), marks[marks >= 0].cpu().numpy(), 1.0)
            values = self.weights(marks)
            # The value is zero, so that neither the logged loss nor who watches it is disturbed.
            carried = loss + self._plugin.strength * (values - values.detach()).mean().to(loss.dtype)
            return {**output, "loss": carried} if isinstance(output, Mapping) else carried

        return step

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Without a training, nothing of the canaries is needed."""
        if stage != "fit":
            self._leave()

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Looks whether the optimizer trains the canaries' weights like all others.

        Raises:
            Refused: If it does not.
        """
        trained = {
            id(weight)
            for optimizer in trainer.optimizers
            for group in optimizer.param_groups
            for weight in group["params"]
            if weight.requires_grad
        }
        if not trained.issuperset(map(id, self.weights.parameters())):
            raise refuse(
                "the optimizer does not train the weights beside the model, so it would never see a canary",
                fix="give the optimizer self.parameters() in configure_optimizers",
            )

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """Adds up what the optimizer is given."""
        seen = self.weights.gradient()
        self._steps += 1
        if not self._counts:
            return
        if seen is None:
            self._unseen += 1
        else:
            self._sums += seen

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Takes the canaries' weights out of the task."""
        self._leave()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """The same, of a training that broke off."""
        self._leave()

    def state_dict(self) -> dict[str, Any]:
        """What was seen so far."""
        return {"sums": self._sums, "seen": self._seen, "steps": self._steps, "unseen": self._unseen}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""
        if len(state_dict["sums"]) != len(self.coins):
            raise refuse("the run was begun with another number of canaries", fix=f"{self.key}.count=as before")
        self._sums, self._seen = state_dict["sums"].clone(), state_dict["seen"].clone()
        self._steps, self._unseen = state_dict["steps"], state_dict["unseen"]

    @meant
    def measure(self, run: Run) -> Iterator[Measurement | Artefact]:
        """The two bounds, and two controls without which they say nothing."""
        if not run.trained or not self._steps:
            yield from _untold("needs a training: the coins are thrown before it")
            return
        if self._unseen == self._steps:
            yield from _untold("the optimizer was never given a gradient of the canaries' weights")
            return
        scores, seen = self._sums.numpy(), self._seen.numpy()
        caught = self._bound(seen, self.coins)
        innocent = self._bound(scores, self._fresh)
        failed = [
            *(["an attacker who sees the batches without noise guesses no better than chance"] if caught <= 0 else []),
            *([f"coins that nobody used are guessed, epsilon {innocent:.3g}"] if innocent > 0 else []),
        ]
        yield from self._bounds(scores, "; ".join(failed))
        yield _control("noiseless_bound", caught, len(self.coins), "an attacker who sees the batches without any noise")
        yield _control("unused_coins_bound", innocent, len(self.coins), "the attack on coins that nobody has used")

    def _bounds(self, scores: Scores, failed: str) -> Iterator[Measurement]:
        level, delta = self._plugin.level, self._delta()
        found = guesses(scores, self.coins)[0]
        status = Status.INVALID if failed else Status.MEASURED
        words = f"{len(self.coins)} canaries, {self._steps} steps, delta={delta:.3g}, confidence {level:.0%}"
        prefix = f"{failed}; {words}" if failed else words
        for name, bound, assumption, meaning in (
            (
                NAMES[0],
                pure_bound,
                "whatever the mechanism (Steinke et al. 2023); more than the logarithm of their number cannot be shown",
                "What an attacker who saw every gradient did find out: the training gives away at least this much, and "
                "a promise below it is broken",
            ),
            (
                NAMES[1],
                gaussian_bound,
                "if the trade-off curve is that of Gaussian noise (Mahloujifar et al. 2024)",
                "the same with sharper statistics, which hold for Gaussian noise",
            ),
        ):
            yield Measurement(
                name=name,
                value=bound(scores, self.coins, delta=delta, level=level),
                status=status,
                better=Better.LOWER,
                level=level,
                count=len(self.coins),
                split="train",
                bounds=self._plugin.promise,
                note=f"{prefix}; {assumption}",
                meaning=meaning,
            )
        yield Measurement(
            name=NAMES[2],
            value=found.right / found.made,
            status=status,
            better=Better.LOWER,
            count=found.made,
            split="train",
            note=f"{prefix}; the upper half of the scores is guessed in, the lower out; 0.5 is guessing",
        )

    def _bound(self, scores: Scores, coins: Coins) -> float:
        return pure_bound(scores, coins, delta=self._delta(), level=CONTROL_LEVEL)

    def _delta(self) -> float:
        return default_delta(self._size) if self._plugin.delta is None else self._plugin.delta

    def _leave(self) -> None:
        if getattr(self._task, MODULE, None) is self.weights:
            delattr(self._task, MODULE)


def _untold(reason: str) -> Iterator[Measurement]:
    for name in NAMES:
        yield Measurement(name=name, status=Status.SKIPPED, note=reason)


def _control(name: str, value: float, count: int, words: str) -> Measurement:
    return Measurement(
        name=name, value=value, level=CONTROL_LEVEL, count=count, split="train", note=f"control: {words}"
    )


def _generator(seed: int, purpose: str) -> np.random.Generator:
    """One that training, which is seeded by the same number, never meets."""
    digest = hashlib.sha256(f"canaries:{purpose}:{seed}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "big"))


def _zeros(count: int) -> nn.Embedding:
    return nn.Embedding(count, 1, _weight=torch.zeros(count, 1))


def _forget(module: nn.Module, state_dict: dict[str, Any], prefix: str, local_metadata: Any) -> None:
    del module, local_metadata
    for name in [name for name in state_dict if name.startswith(prefix)]:
        del state_dict[name]


def _keep(module: nn.Module, state_dict: dict[str, Any], prefix: str, *_: Any) -> None:
    for name, value in module.named_parameters():
        state_dict.setdefault(f"{prefix}{name}", value.detach())
