"""RT-DETR: our way through transformers' layers against theirs, its norms, stored weights and refusals."""

import pytest
import torch
from torch import nn

from steelyard.models import RTDETR
from steelyard.models._vision import FixedNorm
from steelyard.problem import Refused

TINY = {"input_shape": (3, 32, 32), "classes": 4, "widths": (4, 8, 8), "depths": (1, 1, 1), "width": 16, "queries": 9}


def tiny(**options):
    torch.manual_seed(0)
    model = RTDETR(**{**TINY, "heads": 2, **options})
    # The first weights would let all queries say nearly the same.
    with torch.no_grad():
        for weight in model.parameters():
            weight += 0.05 * torch.randn_like(weight)
    return model


def pictures(count=3, side=32):
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("norm", ["group", "batch"])
@pytest.mark.parametrize("training", [True, False])
def test_it_says_what_transformers_forward_says_at_every_stage(norm, training):
    model = tiny(norm=norm, mean=0.4, std=0.2).train(training)
    ours = model.stages(pictures())
    theirs = model.network.model((pictures() - 0.4) / 0.2)
    first = torch.cat([theirs.enc_topk_logits, theirs.enc_topk_bboxes], dim=-1)
    rest = torch.cat([theirs.intermediate_logits, theirs.intermediate_reference_points], dim=-1)
    assert ours.shape == (3, 3, 9, 8)
    torch.testing.assert_close(ours[0], first, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ours[1:], rest.transpose(0, 1), rtol=1e-4, atol=1e-5)
    if not training:
        whole = model.network((pictures() - 0.4) / 0.2)
        assert torch.equal(model(pictures()), ours[-1])
        torch.testing.assert_close(ours[-1], torch.cat([whole.logits, whole.pred_boxes], dim=-1), rtol=1e-4, atol=1e-5)


def test_in_training_its_gradients_are_those_of_transformers():
    model = tiny().train()
    mixer = torch.randn(9, 8)
    weights = list(model.parameters())
    ours = torch.autograd.grad((model.stages(pictures()) * mixer).sum(), weights)
    theirs = model.network.model(pictures())
    first = torch.cat([theirs.enc_topk_logits, theirs.enc_topk_bboxes], dim=-1)
    rest = torch.cat([theirs.intermediate_logits, theirs.intermediate_reference_points], dim=-1)
    expected = torch.autograd.grad((first * mixer).sum() + (rest * mixer).sum(), weights)
    for one, other in zip(ours, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


def test_in_evaluation_the_gradient_of_the_picture_is_whole():
    model = tiny(queries=100).double().eval()
    picture = pictures(1).double()
    direction = torch.randn(picture.shape, dtype=torch.double, generator=torch.Generator().manual_seed(2))
    mixer = torch.randn(1, 8, dtype=torch.double, generator=torch.Generator().manual_seed(3))

    def said(x):
        # All places are proposals, so that only their order could jump; a sum does not see it.
        return (model(x) * mixer).sum()

    step = 1e-6
    with torch.no_grad():
        difference = (said(picture + step * direction) - said(picture - step * direction)) / (2 * step)
    moved = picture.clone().requires_grad_()
    whole = (torch.autograd.grad(said(moved), moved)[0] * direction).sum()
    assert float(whole) == pytest.approx(float(difference), rel=1e-3)
    model.train()
    cut = (torch.autograd.grad(said(moved), moved)[0] * direction).sum()
    assert float(cut) != pytest.approx(float(difference), rel=1e-2)


def test_every_weight_is_trained():
    model = tiny()
    model.stages(pictures()).square().sum().backward()
    assert all(weight.requires_grad and bool((weight.grad != 0).any()) for weight in model.parameters())


def test_group_norm_looks_at_one_example_at_a_time_and_batch_norm_does_not():
    for norm, alike in (("group", True), ("batch", False)):
        model, inputs = tiny(norm=norm).double().train(), pictures().double()
        assert torch.allclose(model(inputs)[:1], model(inputs[:1]), atol=1e-9) == alike


def test_norms_begin_at_scale_one():
    for norm, kind in (("batch", nn.BatchNorm2d), ("group", nn.GroupNorm)):
        model = RTDETR(**{**TINY, "heads": 2, "norm": norm})
        scales = [module.weight for module in model.modules() if isinstance(module, kind)]
        assert scales
        assert all((scale == 1).all() for scale in scales)


def test_no_more_queries_than_there_are_places():
    # Strides of 8 and 16: 4 x 4 and 2 x 2.
    assert tiny(queries=100)(pictures()).shape == (3, 20, 8)


def test_two_stages_and_other_sizes():
    model = tiny(widths=(4, 8), depths=(1, 2), input_shape=(3, 40, 24))
    assert model(torch.rand(2, 3, 40, 24)).shape == (2, 9, 8)
    assert RTDETR(**{**TINY, "input_shape": (1, 32, 32), "heads": 2})(torch.rand(2, 1, 32, 32)).shape == (2, 9, 8)


def test_nothing_is_kept_between_inference_and_training():
    model = tiny()
    with torch.inference_mode():
        model.eval()(pictures())
    model.train().stages(pictures()).sum().backward()


def test_it_is_made_without_memory():
    with torch.device("meta"):
        model = RTDETR(**{**TINY, "heads": 2})
        assert model.stages(torch.empty(2, 3, 32, 32)).shape == (3, 2, 9, 8)
    assert all(weight.is_meta for weight in model.parameters())


def stored(folder, *, classes=4, **options):
    model = tiny(norm="batch", classes=classes, **options)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2)
    model.network.save_pretrained(folder)
    return model.eval()


@pytest.mark.parametrize("norm", ["batch", "frozen"])
def test_stored_weights_say_what_they_said(tmp_path, norm):
    before = stored(tmp_path)
    again = RTDETR(input_shape=(3, 32, 32), classes=4, pretrained=str(tmp_path), norm=norm).eval()
    torch.testing.assert_close(again(pictures()), before(pictures()), rtol=1e-4, atol=1e-5)


def test_frozen_norms_do_not_move(tmp_path):
    stored(tmp_path)
    model = RTDETR(input_shape=(3, 32, 32), classes=4, pretrained=str(tmp_path), norm="frozen").train()
    fixed = [module for module in model.modules() if isinstance(module, FixedNorm)]
    assert fixed
    assert not any(isinstance(module, nn.BatchNorm2d) for module in model.modules())
    before = [buffer.clone() for buffer in model.buffers()]
    model.stages(pictures()).sum().backward()
    assert all(torch.equal(old, new) for old, new in zip(before, model.buffers(), strict=True))


def test_for_other_classes_only_the_last_layers_begin_anew(tmp_path):
    before = stored(tmp_path).network.state_dict()
    model = RTDETR(input_shape=(3, 32, 32), classes=2, pretrained=str(tmp_path), norm="batch")
    assert model.eval()(pictures()).shape[-1] == 6
    new = {name for name, value in model.network.state_dict().items() if not torch.equal(value, before[name])}
    assert {name.split(".")[1] for name in new} == {"decoder", "enc_score_head"}
    assert all("class_embed" in name or "enc_score_head" in name for name in new)


def test_what_is_stored_must_be_safe_and_fit(tmp_path):
    stored(tmp_path / "there")
    with pytest.raises(Refused, match="takes pictures of 3 channels, the data has 1"):
        RTDETR(input_shape=(1, 32, 32), classes=4, pretrained=str(tmp_path / "there"))
    weights = tmp_path / "there" / "model.safetensors"
    weights.rename(tmp_path / "there" / "pytorch_model.bin")
    with pytest.raises(Refused, match="is a pickle"):
        RTDETR(input_shape=(3, 32, 32), classes=4, pretrained=str(tmp_path / "there"))


@pytest.mark.parametrize(
    ("options", "message", "fix"),
    [
        ({"input_shape": (64,)}, "needs images", "model=mlp"),
        ({"norm": "layer"}, "must be one of group, batch, frozen", "model.norm=group"),
        ({"norm": "frozen"}, "without model.pretrained there are none", "model.norm=group"),
        ({"widths": (4,), "depths": (1,)}, "must name the same stages, two at least", "model.widths="),
        ({"depths": (1, 1)}, "must name the same stages", "model.widths="),
        ({"width": 18}, "multiple of 4", "model.width=64"),
        ({"heads": 3}, "multiple of 4 and of model.heads=3", "model.heads=4"),
        ({"input_shape": (3, 36, 36)}, "cannot be cut into pieces of 16x16 pixels", "model.widths="),
    ],
)
def test_bad_options_are_refused(options, message, fix):
    with pytest.raises(Refused, match=message) as caught:
        RTDETR(**{**TINY, "heads": 2, **options})
    assert fix in caught.value.problems[0].fix
