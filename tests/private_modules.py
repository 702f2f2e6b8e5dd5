"""Kinds of modules on which the private engines are held against one example at a time."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers.pytorch_utils import Conv1D

from private_runs import CLASSES, FEATURES

VECTOR, SIGNAL, IMAGE = (FEATURES,), (4, 12), (4, 6, 6)


class Apply(nn.Module):
    """A function of parts that are trained."""

    def __init__(self, function: Callable[..., Tensor], **parts: Any) -> None:
        super().__init__()
        self.function = function
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.function(self, inputs)


def words(inputs: Tensor) -> Tensor:
    return (inputs.abs() * 3).long() % 7


def flat(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(*layers, nn.Flatten(), nn.LazyLinear(CLASSES))


def vector(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(FEATURES, 8), *layers, nn.Linear(8, CLASSES))


def recurrent(kind: type[nn.RNNBase], *, first: bool = True, **options: Any) -> nn.Module:
    def run(self: Any, inputs: Tensor) -> Tensor:
        outputs, last = self.layer(inputs if first else inputs.transpose(0, 1))
        last = last[0] if isinstance(last, tuple) else last
        return self.head(torch.cat([outputs.mean(dim=1 if first else 0), last[-1]], dim=1))

    return Apply(run, layer=kind(12, 5, batch_first=first, **options), head=nn.LazyLinear(CLASSES))


def cell(kind: type[nn.Module]) -> nn.Module:
    def run(self: Any, inputs: Tensor) -> Tensor:
        state = None
        for step in range(inputs.shape[1]):
            state = self.layer(inputs[:, step], state)
        return self.head(state[0] if isinstance(state, tuple) else state)

    return Apply(run, layer=kind(12, 5), head=nn.Linear(5, CLASSES))


def attention(*, first: bool = True, mask: bool = False, **options: Any) -> nn.Module:
    def run(self: Any, inputs: Tensor) -> Tensor:
        inputs = inputs if first else inputs.transpose(0, 1)
        causal = torch.ones(4, 4, dtype=torch.bool).triu(1) if mask else None
        mixed, _ = self.layer(inputs, inputs, inputs, attn_mask=causal)
        return self.head(mixed.mean(dim=1 if first else 0))

    return Apply(run, layer=nn.MultiheadAttention(12, 3, batch_first=first, **options), head=nn.Linear(12, CLASSES))


def transformer(**options: Any) -> nn.Module:
    layer = nn.TransformerEncoderLayer(12, 3, 16, dropout=0.0, batch_first=True, **options)
    return flat(layer)


def decoder() -> nn.Module:
    layer = nn.TransformerDecoderLayer(12, 3, 16, dropout=0.0, batch_first=True)
    return Apply(lambda self, inputs: self.head(self.layer(inputs, inputs.tanh())[:, 0]), layer=layer, head=head(12))


def head(width: int) -> nn.Module:
    return nn.Linear(width, CLASSES)


def weight(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(shape) / 2)


def with_class_token() -> nn.Module:
    def run(self: Any, inputs: Tensor) -> Tensor:
        token = self.token.expand(len(inputs), 1, 12)
        return self.head(self.mix(torch.cat([token, inputs], dim=1) + self.places).tanh().mean(dim=1))

    return Apply(run, token=weight(1, 1, 12), places=weight(1, 5, 12), mix=nn.Linear(12, 12), head=head(12))


def embedding_in_and_out() -> nn.Module:
    output = nn.Linear(5, 7, bias=False)
    table = nn.Embedding(7, 5)
    output.weight = table.weight
    return Apply(
        lambda self, x: self.output(self.table(words(x)).tanh())[..., :CLASSES].mean(dim=1), table=table, output=output
    )


def lora() -> nn.Module:
    base = nn.Linear(FEATURES, 8).requires_grad_(False)
    down, up = nn.Linear(FEATURES, 2, bias=False), nn.Linear(2, 8, bias=False)
    return Apply(
        lambda self, x: self.head(self.base(x) + 2 * self.up(self.down(x))), base=base, down=down, up=up, head=head(8)
    )


def gated() -> nn.Module:
    experts = nn.ModuleList([nn.Linear(FEATURES, CLASSES) for _ in range(3)])

    def run(self: Any, inputs: Tensor) -> Tensor:
        weights = self.gate(inputs).softmax(dim=1)
        return torch.stack([expert(inputs) for expert in self.experts], dim=2).mul(weights[:, None]).sum(dim=2)

    return Apply(run, gate=nn.Linear(FEATURES, 3), experts=experts)


def recomputed() -> nn.Module:
    def run(self: Any, inputs: Tensor) -> Tensor:
        return self.head(checkpoint(self.inner, inputs, use_reentrant=False).relu())

    return Apply(run, inner=nn.Linear(FEATURES, 8), head=head(8))


def squeeze() -> nn.Module:
    def run(self: Any, inputs: Tensor) -> Tensor:
        seen = self.conv(inputs)
        return self.head((seen * self.scale(seen.mean(dim=(2, 3))).sigmoid()[..., None, None]).mean(dim=(2, 3)))

    return Apply(run, conv=nn.Conv2d(4, 8, 3), scale=nn.Linear(8, 8), head=head(8))


def twice(layer: nn.Module, width: int) -> nn.Module:
    return Apply(lambda self, inputs: self.head(self.layer(self.layer(inputs).tanh())), layer=layer, head=head(width))


def at_two_sizes() -> nn.Module:
    def run(self: Any, inputs: Tensor) -> Tensor:
        wide = nn.functional.interpolate(self.first(inputs), scale_factor=4)
        return self.head(self.conv(self.conv(wide).tanh()[..., ::4, ::4]))

    return Apply(run, first=nn.Conv2d(4, 16, 1), conv=nn.Conv2d(16, 16, 3, padding=1), head=head(6))


def in_place_behind_a_unit() -> nn.Module:
    def run(self: Any, inputs: Tensor) -> Tensor:
        seen = self.layer(inputs)
        seen += 1
        return self.head(seen.relu_())

    return Apply(run, layer=nn.utils.parametrizations.weight_norm(nn.Linear(FEATURES, 8)), head=head(8))


def two_branches() -> nn.Module:
    return Apply(
        lambda self, x: self.head(torch.cat([self.one(x[:, :3]), self.other(x[:, 3:]).relu()], dim=1)),
        one=nn.Linear(3, 4),
        other=nn.Linear(3, 4),
        head=head(8),
    )


MODULES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "linear": (lambda: head(FEATURES), VECTOR),
    "linear without bias": (lambda: nn.Linear(FEATURES, CLASSES, bias=False), VECTOR),
    "linear over positions": (lambda: flat(nn.Linear(12, 5), nn.Tanh()), SIGNAL),
    "linear over a grid": (lambda: flat(nn.Linear(6, 3), nn.Tanh()), IMAGE),
    "wide and short": (lambda: flat(nn.Linear(12, 40), nn.GELU(), nn.Linear(40, 12)), SIGNAL),
    "mlp, ReLU": (lambda: vector(nn.ReLU()), VECTOR),
    "mlp, in place": (lambda: vector(nn.ReLU(inplace=True)), VECTOR),
    "mlp, GLU": (lambda: nn.Sequential(nn.Linear(FEATURES, 8), nn.GLU(), head(4)), VECTOR),
    "mlp, frozen": (lambda: vector(nn.Linear(8, 8).requires_grad_(False), nn.Tanh()), VECTOR),
    "PReLU": (lambda: vector(nn.PReLU()), VECTOR),
    "PReLU by channel": (lambda: vector(nn.PReLU(8)), VECTOR),
    "Bilinear": (
        lambda: Apply(lambda self, x: self.layer(x[:, :3], x[:, 3:]), layer=nn.Bilinear(3, 3, CLASSES)),
        VECTOR,
    ),
    "Conv1D of GPT-2": (lambda: flat(Conv1D(9, 12), nn.GELU()), SIGNAL),
    "LoRA": (lora, VECTOR),
    "experts": (gated, VECTOR),
    "two branches": (two_branches, VECTOR),
    "called twice": (lambda: twice(nn.Linear(FEATURES, FEATURES), FEATURES), VECTOR),
    "recomputed": (recomputed, VECTOR),
    "Embedding": (
        lambda: Apply(lambda self, x: self.head(self.table(words(x)).mean(1)), table=nn.Embedding(7, 5), head=head(5)),
        VECTOR,
    ),
    "Embedding, padding": (
        lambda: Apply(
            lambda self, x: self.head(self.table(words(x)).mean(1)),
            table=nn.Embedding(7, 5, padding_idx=0),
            head=head(5),
        ),
        VECTOR,
    ),
    "Embedding called twice": (
        lambda: Apply(
            lambda self, x: self.head(self.table(words(x)).mean(1) + self.table(words(2 * x)).sum(1)),
            table=nn.Embedding(7, 5),
            head=head(5),
        ),
        VECTOR,
    ),
    "EmbeddingBag": (
        lambda: Apply(lambda self, x: self.head(self.table(words(x))), table=nn.EmbeddingBag(7, 5), head=head(5)),
        VECTOR,
    ),
    "Embedding in and out": (embedding_in_and_out, VECTOR),
    "LayerNorm": (lambda: vector(nn.LayerNorm(8)), VECTOR),
    "LayerNorm over two": (lambda: flat(nn.LayerNorm((4, 12))), SIGNAL),
    "LayerNorm over positions": (lambda: flat(nn.LayerNorm(12)), SIGNAL),
    "LayerNorm without bias": (lambda: vector(nn.LayerNorm(8, bias=False)), VECTOR),
    "RMSNorm": (lambda: vector(nn.RMSNorm(8)), VECTOR),
    "GroupNorm": (lambda: flat(nn.GroupNorm(2, 4)), IMAGE),
    "GroupNorm of vectors": (lambda: vector(nn.GroupNorm(2, 8)), VECTOR),
    "InstanceNorm1d": (lambda: flat(nn.InstanceNorm1d(4, affine=True)), SIGNAL),
    "InstanceNorm2d": (lambda: flat(nn.InstanceNorm2d(4, affine=True)), IMAGE),
    "Conv1d": (lambda: flat(nn.Conv1d(4, 6, 3), nn.Tanh()), SIGNAL),
    "Conv1d, stride, groups": (lambda: flat(nn.Conv1d(4, 6, 3, stride=2, groups=2), nn.Tanh()), SIGNAL),
    "Conv1d, dilation": (lambda: flat(nn.Conv1d(4, 6, 3, dilation=2, padding=2), nn.Tanh()), SIGNAL),
    "Conv1d, reflected": (lambda: flat(nn.Conv1d(4, 6, 3, padding=1, padding_mode="reflect"), nn.Tanh()), SIGNAL),
    "Conv2d": (lambda: flat(nn.Conv2d(4, 5, 3), nn.ReLU()), IMAGE),
    "Conv2d, stride": (lambda: flat(nn.Conv2d(4, 5, 3, stride=2, padding=1), nn.ReLU()), IMAGE),
    "Conv2d, uneven": (lambda: flat(nn.Conv2d(4, 5, (3, 2), stride=(1, 2), padding=(2, 1), dilation=(2, 1))), IMAGE),
    "Conv2d, same": (lambda: flat(nn.Conv2d(4, 5, 3, padding="same", dilation=2), nn.ReLU()), IMAGE),
    "Conv2d, one by one": (lambda: flat(nn.Conv2d(4, 5, 1), nn.ReLU()), IMAGE),
    "Conv2d, many channels": (
        lambda: flat(nn.Conv2d(4, 16, 1), nn.Tanh(), nn.Conv2d(16, 5, 3, stride=2, padding=1)),
        IMAGE,
    ),
    "Conv2d, many, dilation": (
        lambda: flat(nn.Conv2d(4, 17, 1), nn.Tanh(), nn.Conv2d(17, 3, 2, dilation=2, bias=False)),
        IMAGE,
    ),
    "Conv2d, many places": (
        lambda: flat(nn.Conv2d(4, 16, 1), nn.Upsample(scale_factor=4), nn.Conv2d(16, 2, 3, padding=1), nn.Tanh()),
        IMAGE,
    ),
    "Conv2d at two sizes": (lambda: flat(at_two_sizes()), IMAGE),
    "Conv2d, groups": (lambda: flat(nn.Conv2d(4, 6, 3, groups=2), nn.ReLU()), IMAGE),
    "Conv2d, depthwise": (lambda: flat(nn.Conv2d(4, 4, 3, groups=4, bias=False), nn.ReLU()), IMAGE),
    "Conv2d, circular": (lambda: flat(nn.Conv2d(4, 5, 3, padding=1, padding_mode="circular")), IMAGE),
    "Conv2d called twice": (lambda: flat(twice(nn.Conv2d(4, 4, 3, padding=1), 6)), IMAGE),
    "Conv3d": (lambda: flat(nn.Unflatten(1, (1, 4)), nn.Conv3d(1, 2, 2)), IMAGE),
    "ConvTranspose1d": (lambda: flat(nn.ConvTranspose1d(4, 3, 3, stride=2), nn.Tanh()), SIGNAL),
    "ConvTranspose2d": (lambda: flat(nn.ConvTranspose2d(4, 3, 2, groups=1), nn.Tanh()), IMAGE),
    "squeeze and excite": (squeeze, IMAGE),
    "pooled": (lambda: flat(nn.Conv2d(4, 5, 3, padding=1), nn.MaxPool2d(2), nn.Upsample(scale_factor=2)), IMAGE),
    "RNN": (lambda: recurrent(nn.RNN), SIGNAL),
    "RNN, time first": (lambda: recurrent(nn.RNN, first=False), SIGNAL),
    "GRU": (lambda: recurrent(nn.GRU), SIGNAL),
    "LSTM": (lambda: recurrent(nn.LSTM), SIGNAL),
    "LSTM, time first": (lambda: recurrent(nn.LSTM, first=False), SIGNAL),
    "LSTM, both ways, two layers": (lambda: recurrent(nn.LSTM, bidirectional=True, num_layers=2), SIGNAL),
    "LSTM, projected": (lambda: recurrent(nn.LSTM, proj_size=3), SIGNAL),
    "RNNCell": (lambda: cell(nn.RNNCell), SIGNAL),
    "GRUCell": (lambda: cell(nn.GRUCell), SIGNAL),
    "LSTMCell": (lambda: cell(nn.LSTMCell), SIGNAL),
    "attention": (attention, SIGNAL),
    "attention, time first": (lambda: attention(first=False), SIGNAL),
    "attention, masked": (lambda: attention(mask=True), SIGNAL),
    "attention with biases": (lambda: attention(add_bias_kv=True, bias=False), SIGNAL),
    "transformer": (transformer, SIGNAL),
    "transformer, norm first": (lambda: transformer(norm_first=True, activation="gelu"), SIGNAL),
    "decoder": (decoder, SIGNAL),
    "weight of the task": (
        lambda: Apply(lambda self, x: self.head(x * self.scale), scale=weight(FEATURES), head=head(FEATURES)),
        VECTOR,
    ),
    "class token and places": (with_class_token, SIGNAL),
    "layer scale": (
        lambda: nn.Sequential(
            Apply(lambda self, x: x + self.gamma * self.inner(x), gamma=weight(6), inner=nn.Linear(6, 6)), head(6)
        ),
        VECTOR,
    ),
    "weight norm": (
        lambda: nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(FEATURES, 8)), head(8)),
        VECTOR,
    ),
    "orthogonal": (lambda: nn.Sequential(nn.utils.parametrizations.orthogonal(nn.Linear(6, 6)), head(6)), VECTOR),
    "in place behind weight norm": (in_place_behind_a_unit, VECTOR),
}
