from collections.abc import Callable

import pytest
import torch
from torch import nn

from helpers import tiny
from helpers.plugins import Fake, claiming
from steelyard import assembly
from steelyard._torch_private import HOOK_DICTIONARIES, buffers_of, hook_count
from steelyard.draft import Draft
from steelyard.problem import Refused
from steelyard.seam import Seam
from steelyard.selection import Selected


def replace_layer(draft: Draft) -> None:
    draft.task.model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))


def nudge_weight(draft: Draft) -> None:
    with torch.no_grad():
        next(draft.task.parameters()).view(-1)[0] += 1e-6


def swap_weights(draft: Draft) -> None:
    with torch.no_grad():
        weight = next(draft.task.parameters()).view(-1)
        weight[:2] = weight[:2].flip(0)


def freeze(draft: Draft) -> None:
    next(draft.task.parameters()).requires_grad_(False)


def hook(draft: Draft) -> None:
    draft.task.register_forward_hook(lambda *_: None)


def clip(draft: Draft) -> None:
    draft.trainer["gradient_clip_val"] = 1.0


def profile(draft: Draft) -> None:
    draft.trainer["profiler"] = "simple"


def patch_data(draft: Draft) -> None:
    draft.data.train_dataloader = lambda: []


def wrap_loader(draft: Draft) -> None:
    draft.loaders.append(lambda loader: loader)


def wrap_loss(draft: Draft) -> None:
    draft.steps[Seam.OBJECTIVE].append(lambda step: step)


def wrap_pieces(draft: Draft) -> None:
    draft.steps[Seam.BATCHES].append(lambda step: step)


def wrap_optimizer(draft: Draft) -> None:
    draft.optimizers.append(lambda made: made)


def eval_mode(draft: Draft) -> None:
    draft.task.eval()


def patch_layer(draft: Draft) -> None:
    layer = next(module for module in draft.task.modules() if isinstance(module, nn.Linear))
    layer.forward = lambda inputs: inputs


def mark_weight(draft: Draft) -> None:
    next(draft.task.parameters()).mark = True


def reseed(draft: Draft) -> None:
    draft.seed = 7


CHANGES: list[tuple[Callable[[Draft], None], str, Seam | None]] = [
    (replace_layer, "the layers of the task", Seam.MODULES),
    (nudge_weight, "the weights of the task", Seam.MODULES),
    (swap_weights, "the weights of the task", Seam.MODULES),
    (freeze, "which weights are trained", Seam.OPTIMIZER),
    (freeze, "which weights are trained", Seam.MODULES),
    (hook, "hooks on layers", Seam.GRADIENTS),
    (hook, "hooks on layers", Seam.GRAPH),
    (eval_mode, "train and eval flags", Seam.MODULES),
    (clip, "trainer.gradient_clip_val", Seam.GRADIENTS),
    (profile, "trainer.profiler", None),
    (patch_data, "attributes of the data module", None),
    (wrap_loader, "draft.loaders", Seam.BATCHES),
    (wrap_pieces, "draft.steps[batches]", Seam.BATCHES),
    (wrap_loss, "draft.steps[objective]", Seam.OBJECTIVE),
    (wrap_optimizer, "draft.optimizers", Seam.OPTIMIZER),
    (patch_layer, "attributes of the layers", Seam.MODULES),
    (mark_weight, "attributes of the weights", Seam.MODULES),
    (reseed, "the seed", None),
]


@pytest.mark.parametrize(("change", "part", "seam"), CHANGES)
def test_a_change_outside_the_claims_is_refused(change: Callable[[Draft], None], part: str, seam: Seam | None) -> None:
    with pytest.raises(Refused) as caught:
        assembly.attach([Selected("a.x", Fake(on_attach=change))], tiny.draft())
    (problem,) = caught.value.problems
    assert problem.party == "a.x"
    assert part in problem.message
    assert "it claims nothing" in problem.message
    assert problem.fix.startswith("a=none")


@pytest.mark.parametrize(("change", "part", "seam"), [row for row in CHANGES if row[2] is not None])
@pytest.mark.parametrize("mode", ["owns", "shares"])
def test_a_change_inside_the_claims_is_allowed(
    change: Callable[[Draft], None], part: str, seam: Seam, mode: str
) -> None:
    plugin = claiming(**{mode: (seam,)})(on_attach=change)
    assert list(assembly.attach([Selected("a.x", plugin)], tiny.draft())) == ["a.x"]


def test_another_seam_does_not_help() -> None:
    with pytest.raises(Refused, match="it claims gradients"):
        assembly.attach([Selected("a.x", claiming(owns=(Seam.GRADIENTS,))(on_attach=wrap_loader))], tiny.draft())


def test_attaching_consumes_no_random_numbers() -> None:
    def draw(_: Draft) -> None:
        torch.rand(3)

    draft = tiny.draft()
    state = torch.get_rng_state()
    assembly.attach([Selected("a.x", Fake(on_attach=draw))], draft)
    assert torch.equal(state, torch.get_rng_state())


def test_torch_still_keeps_its_buffers_where_we_look() -> None:
    # Seen on torch 2.13.0; if this fails, look for the new name.
    module = nn.BatchNorm1d(2)
    found = buffers_of(module)
    assert {name: id(value) for name, value in found.items()} == {n: id(b) for n, b in module.named_buffers()}
    module.running_mean = torch.ones(2)
    assert found["running_mean"] is module.running_mean


def test_torch_still_keeps_its_hooks_where_we_count_them() -> None:
    # Seen on torch 2.13.0; if this fails, look for the new names.
    module = nn.Linear(2, 2)
    assert set(HOOK_DICTIONARIES) <= set(vars(module))
    assert hook_count(module) == 0
    module.register_forward_hook(lambda *_: None)
    module.register_forward_pre_hook(lambda *_: None)
    module.register_full_backward_hook(lambda *_: None)
    module.register_full_backward_pre_hook(lambda *_: None)
    module.register_state_dict_post_hook(lambda *_: None)
    module.register_load_state_dict_pre_hook(lambda *_: None)
    assert hook_count(module) == 6
