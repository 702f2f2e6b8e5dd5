"""Honesty enforced: what an `attach` changed, compared with what the plugin claims."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from steelyard._torch_private import hook_count, is_fake
from steelyard._untyped import named_modules
from steelyard.draft import Draft
from steelyard.problem import refuse
from steelyard.seam import TRAINER_ARGUMENTS, Seam
from steelyard.selection import Selected

NOWHERE: frozenset[Seam] = frozenset()
LAYERS = frozenset({Seam.MODULES})


@dataclass(frozen=True, slots=True)
class Part:
    """One comparable part of a draft.

    Attributes:
        seams: Claiming any of these allows a change.
        value: Compared by `==`; tensors are reduced to hashes, objects are kept alive and compared by identity.
    """

    seams: frozenset[Seam]
    value: Any


def snapshot(draft: Draft) -> dict[str, Part]:
    """All parts of the draft that a plugin could change, by a name that a user understands."""
    modules = named_modules(draft.task)
    parts = {
        "the layers of the task": Part(LAYERS, {name: _Same(module) for name, module in modules.items()}),
        "the weights of the task": Part(LAYERS, fingerprint(draft.task)),
        "train and eval flags": Part(LAYERS, {name: module.training for name, module in modules.items()}),
        "which weights are trained": Part(
            LAYERS | {Seam.OPTIMIZER}, {name: weight.requires_grad for name, weight in draft.task.named_parameters()}
        ),
        "hooks on layers": Part(
            LAYERS | {Seam.GRADIENTS, Seam.GRAPH}, {name: hook_count(module) for name, module in modules.items()}
        ),
        "attributes of the layers": Part(LAYERS, {name: _attributes(module) for name, module in modules.items()}),
        "attributes of the weights": Part(
            LAYERS, {name: _attributes(weight) for name, weight in draft.task.named_parameters()}
        ),
        "attributes of the data module": Part(NOWHERE, _attributes(draft.data)),
        "draft.loaders": Part(frozenset({Seam.BATCHES}), list(draft.loaders)),
        "draft.optimizers": Part(frozenset({Seam.OPTIMIZER}), list(draft.optimizers)),
        "the task itself": Part(NOWHERE, _Same(draft.task)),
        "the data module itself": Part(NOWHERE, _Same(draft.data)),
        "the adapter": Part(NOWHERE, _Same(draft.adapter)),
        "the seed": Part(NOWHERE, draft.seed),
    }
    for seam, wraps in draft.steps.items():
        parts[f"draft.steps[{seam}]"] = Part(frozenset({seam}), list(wraps))
    for name in {*TRAINER_ARGUMENTS, *draft.trainer}:
        seams = frozenset({TRAINER_ARGUMENTS[name].seam}) if name in TRAINER_ARGUMENTS else NOWHERE
        parts[f"trainer.{name}"] = Part(seams, draft.trainer.get(name))
    return parts


def enforce(choice: Selected, before: Mapping[str, Part], after: Mapping[str, Part]) -> None:
    """Refuses a change outside the claimed seams.

    Raises:
        Refused: Naming everything that the plugin changed without a claim.
    """
    claimed = choice.plugin.owns | choice.plugin.shares
    nothing = Part(NOWHERE, None)
    changed = [
        name
        for name in sorted({*before, *after})
        if before.get(name, nothing).value != after.get(name, nothing).value
        and not claimed & (before.get(name) or after[name]).seams
    ]
    if changed:
        claims = ", ".join(sorted(claimed)) or "nothing"
        challenge = choice.key.partition(".")[0]
        raise refuse(
            f"its attach changed {', '.join(changed)}, but it claims {claims} (its author: add the seam to `owns`)",
            fix=f"{challenge}=none",
            party=choice.key,
        )


def fingerprint(module: nn.Module) -> dict[str, tuple[object, ...]]:
    """Name -> dtype, shape and hash of the bits of every parameter and buffer."""
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    return {name: _bits(tensor) for name, tensor in tensors.items()}


def _bits(tensor: Tensor) -> tuple[object, ...]:
    if is_fake(tensor):
        return tensor.dtype, tuple(tensor.shape)
    data = tensor.detach().flatten().contiguous().view(torch.uint8).cpu().numpy()
    return tensor.dtype, tuple(tensor.shape), hashlib.blake2b(data.data, digest_size=16).digest()


@dataclass(frozen=True, slots=True, eq=False)
class _Same:
    """Compares by identity."""

    thing: object

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.thing is other.thing

    def __hash__(self) -> int:
        return id(self.thing)


def _attributes(thing: object) -> dict[str, _Same]:
    # Private attributes are the machinery of torch and Lightning, which reading properties may touch.
    return {name: _Same(value) for name, value in vars(thing).items() if not name.startswith("_")}
