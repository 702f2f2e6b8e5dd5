import math
from functools import cache

import pytest
import torch

from steelyard.models.mu_law import compress, decode, encode, place
from steelyard.models.wavenet import WaveNet
from steelyard.models.wavenet_generation import Cached, drawn, generate
from steelyard.problem import Refused

DILATIONS = (1, 2, 4, 1, 2)
SEES = 2 + sum(DILATIONS)


def small(*, classes=0, seed=0, **options):
    torch.manual_seed(seed)
    return WaveNet(
        **{"classes": classes, "levels": 16, "width": 4, "skip": 5, "dilations": DILATIONS, **options}
    ).double()


def sound(*shape, seed=1):
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def one_by_one(model, samples, word):
    """The logits of one sound, sample by sample from the paper's formulas, without a convolution."""
    past = [0.0] + [float(place(encode(x, levels=model.levels), levels=model.levels)) for x in samples]
    blocks = model.gated

    def entered(t):
        older = past[t - 1] if t > 0 else 0.0
        return model.entry.weight[:, 0] * older + model.entry.weight[:, 1] * past[t] + model.entry.bias

    @cache
    def stream(depth, t):
        if t < 0:
            return torch.zeros(4, dtype=torch.float64)
        if depth == 0:
            return entered(t)
        return (
            stream(depth - 1, t) + blocks[depth - 1].residual.weight @ gated(depth, t) + blocks[depth - 1].residual.bias
        )

    @cache
    def gated(depth, t):
        block = blocks[depth - 1]
        older, newer = stream(depth - 1, t - block.dilation), stream(depth - 1, t)
        tapped = block.taps.weight[:, :4] @ older + block.taps.weight[:, 4:] @ newer + block.taps.bias
        if word is not None:
            tapped = tapped + block.condition.weight[word]
        return tapped[:4].tanh() * tapped[4:].sigmoid()

    rows = []
    _, first, _, last = model.head
    for t in range(len(samples)):
        parts = model.skip.weight.split(4, dim=1)
        skips = model.skip.bias + sum(part @ gated(depth, t) for depth, part in enumerate(parts, start=1))
        hidden = first.weight @ skips.relu() + first.bias
        rows.append(last.weight @ hidden.relu() + last.bias)
    return torch.stack(rows, dim=1)


@pytest.mark.parametrize("levels", [256, 16])
def test_companding_is_the_formula_of_g711(levels):
    mu = levels - 1
    for x in (-1.0, -0.3, -1e-4, 0.0, 1e-3, 0.5, 1.0):
        wanted = math.copysign(math.log(1 + mu * abs(x)) / math.log(1 + mu), x)
        assert float(compress(torch.tensor(x, dtype=torch.float64), levels=levels)) == pytest.approx(wanted, abs=1e-12)


def test_companding_has_the_gradient_of_the_formula_also_in_silence():
    samples = torch.tensor([-0.5, 0.0, 0.5], dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(compress(samples, levels=256).sum(), samples)
    wanted = 255 / (1 + 255 * samples.detach().abs()) / math.log(256)
    torch.testing.assert_close(gradient, wanted)


def test_levels_reach_from_end_to_end_and_come_back():
    codes = torch.arange(256)
    assert torch.equal(encode(decode(codes, levels=256), levels=256), codes)
    assert encode(torch.tensor([-1.0, 1.0, -3.0, 3.0]), levels=256).tolist() == [0, 255, 0, 255]
    samples = sound(1000)
    near = compress(decode(encode(samples, levels=256), levels=256), levels=256) - compress(samples, levels=256)
    assert float(near.abs().max()) <= 1 / 255 + 1e-6


@pytest.mark.parametrize("classes", [0, 3])
def test_all_samples_at_once_are_the_same_as_one_by_one(classes):
    model, samples = small(classes=classes), sound(2, 14)
    words = torch.tensor([2, 0]) if classes else None
    logits = model(samples, words)
    assert logits.shape == (2, 16, 14)
    for row in range(2):
        wanted = one_by_one(model, samples[row], None if words is None else int(words[row]))
        torch.testing.assert_close(logits[row], wanted)


def test_a_sample_is_foretold_from_those_before_it_alone_and_from_as_many_as_are_promised():
    model, samples = small(), sound(1, 40).requires_grad_()
    assert model.receptive_field == SEES
    for t in (0, 1, SEES, 39):
        (gradient,) = torch.autograd.grad(model(samples)[0, :, t].square().sum(), samples)
        seen = torch.nonzero(gradient[0])[:, 0].tolist()
        assert seen == list(range(max(0, t - SEES), t))


def test_a_change_of_a_sample_changes_nothing_before_it():
    model, samples = small(), sound(1, 30)
    changed = samples.clone()
    changed[0, 12] = -changed[0, 12]
    before, after = model(samples), model(changed)
    assert torch.equal(before[..., :13], after[..., :13])
    assert not torch.equal(before[..., 13], after[..., 13])


def test_samples_that_are_only_looked_back_at_get_no_logits_and_change_none():
    model, samples, words = small(classes=3), sound(2, 30), torch.tensor([0, 2])
    torch.testing.assert_close(model(samples, words, first=11), model(samples, words)[..., 11:])


def test_inputs_are_levels():
    model, samples = small(), sound(1, 30)
    torch.testing.assert_close(model(samples), model(decode(encode(samples, levels=16), levels=16).double()))


def test_the_word_counts_for_its_own_sound_only():
    model, samples = small(classes=3), sound(2, 20)
    one, other = model(samples, torch.tensor([0, 1])), model(samples, torch.tensor([0, 2]))
    assert torch.equal(one[0], other[0])
    assert not torch.allclose(one[1], other[1])


def test_every_weight_is_learnt():
    model = small(classes=3)
    model(sound(3, 30), torch.tensor([0, 1, 2])).square().sum().backward()
    assert all(weight.grad is not None and bool(weight.grad.any()) for weight in model.parameters())


@torch.no_grad()
def slowly(model, words, *, length, temperature, seed):
    """The whole history again for every sample."""
    generator = torch.Generator().manual_seed(seed)
    codes = torch.empty(len(words), 0, dtype=torch.long)
    for _ in range(length):
        silence = torch.zeros(len(words), 1, dtype=torch.long)
        known = decode(torch.cat([codes, silence], dim=1), levels=model.levels).double()
        logits = model(known, words)[:, :, -1]
        codes = torch.cat([codes, drawn(logits, temperature=temperature, generator=generator)[:, None]], dim=1)
    return decode(codes, levels=model.levels)


@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.0])
def test_cached_generation_is_generation_from_the_whole_history_sample_for_sample(temperature):
    model, words = small(classes=3), torch.tensor([2, 0, 1])
    with torch.no_grad():
        for layer in (model.entry, *(block.taps for block in model.gated), model.head[1], model.head[3]):
            layer.weight.mul_(4)
    quick = generate(
        model, length=60, condition=words, temperature=temperature, generator=torch.Generator().manual_seed(5)
    )
    assert torch.equal(quick, slowly(model, words, length=60, temperature=temperature, seed=5))
    assert len(quick.unique()) > 2


def test_cached_logits_are_the_models():
    model, samples = small(classes=3).float(), sound(2, 50).float()
    words = torch.tensor([1, 2])
    places = place(encode(samples, levels=16), levels=16)
    cached = Cached(model, count=2, condition=words)
    rows = [cached.step(torch.zeros(2, 1))] + [cached.step(places[:, [t]]) for t in range(49)]
    torch.testing.assert_close(torch.stack(rows, dim=2), model(samples, words), atol=1e-5, rtol=1e-4)


def test_a_draw_follows_the_distribution_and_its_temperature():
    logits = torch.tensor([0.0, 1.0, 3.0])
    generator = torch.Generator().manual_seed(0)
    for temperature in (1.0, 2.0):
        found = drawn(logits.expand(40_000, 3), temperature=temperature, generator=generator)
        share = torch.bincount(found, minlength=3) / 40_000
        torch.testing.assert_close(share, (logits / temperature).softmax(dim=0), atol=0.01, rtol=0)
    assert drawn(logits[None], temperature=0, generator=None).tolist() == [2]


def test_generation_builds_no_graph_and_keeps_the_range():
    made = generate(small().float(), length=30, count=4, generator=torch.Generator().manual_seed(0))
    assert made.shape == (4, 30)
    assert not made.requires_grad
    assert float(made.abs().max()) <= 1


@pytest.mark.parametrize(
    ("options", "words", "fix"),
    [
        ({"levels": 1}, r"model\.levels is 1", "model.levels=256"),
        ({"width": 0}, r"model\.width is 0", "model.width=32"),
        ({"skip": 0}, r"model\.skip is 0", "model.skip=64"),
        ({"classes": -1}, r"model\.classes is -1", "model.classes=0"),
        ({"dilations": []}, r"model\.dilations is \[\]", "model.dilations=[1]"),
        ({"dilations": [2, 0]}, r"model\.dilations is \[2, 0\]", "model.dilations=[1]"),
    ],
)
def test_sizes_out_of_range_are_refused(options, words, fix):
    with pytest.raises(Refused, match=words) as caught:
        WaveNet(**options)
    assert caught.value.problems[0].fix == fix


def test_a_word_for_a_model_without_words_is_refused_and_none_for_one_with():
    for model, words in ((small(), torch.tensor([0])), (small(classes=3), None)):
        with pytest.raises(Refused, match="conditioned on"):
            model(sound(1, 5), words)
        with pytest.raises(Refused, match="conditioned on"):
            generate(model, length=3, condition=words)


def test_neighbouring_levels_begin_alike_and_distant_ones_do_not():
    torch.manual_seed(0)
    rows = WaveNet(levels=256).head[-1].weight
    alike = torch.nn.functional.cosine_similarity(rows[:-1], rows[1:]).median()
    apart = torch.nn.functional.cosine_similarity(rows[:128], rows[128:]).abs().median()
    assert alike > 0.9
    assert apart < 0.3
    assert float(rows.detach().std()) == pytest.approx(0.2)
