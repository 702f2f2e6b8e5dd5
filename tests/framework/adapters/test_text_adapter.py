import io

import numpy as np
import pytest
import torch
from PIL import Image
from pytorch_lightning import LightningModule
from torch import nn

from steelyard.adapters import IGNORED, Facts, TextAdapter, TokenScoring, _text_drawing, adapter_for
from steelyard.adapters._letters import UNKNOWN, cells, drawable
from steelyard.adapters._text_drawing import ACROSS, headed, placed
from steelyard.problem import Refused

WORDS = ["", "[UNK]", " a", " film", "ing", " <b>&amp;</b>", " $x$", " 中文", " 👍\u200d", " שלום", " \x07", " ok"]
TEXTS = adapter_for("text", facts=Facts(spell=lambda numbers: [WORDS[number] for number in numbers]))
IDS = torch.tensor([[2, 3, 4, 0], [11, 5, 0, 0]])
MASK = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
BATCH = {"input_ids": IDS, "attention_mask": MASK, "labels": torch.tensor([1, 0])}


class Net(nn.Module):
    """A model that takes embeddings where a batch has them."""

    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(12, 5)
        self.head = nn.Linear(5, 2)

    def embed(self, tokens):
        return self.words(tokens)

    def forward(self, batch):
        states = batch.get("inputs_embeds", None)
        states = self.words(batch["input_ids"]) if states is None else states
        weights = batch["attention_mask"][:, :, None]
        return self.head((states * weights).sum(dim=1) / weights.sum(dim=1))


class Ours(LightningModule):
    def __init__(self):
        super().__init__()
        self.model = Net()

    def forward(self, batch):
        return self.model(batch)


class Stranger(LightningModule):
    """Reads its batch as it likes, knows nothing of embeddings, and uses the layer twice."""

    def __init__(self, key="input_ids", *, places=False):
        super().__init__()
        self.words = nn.Embedding(12, 5)
        if places:
            self.places = nn.Embedding(9, 5)
        self.head = nn.Linear(5, 2)
        self.key = key

    def forward(self, batch):
        tokens = batch if isinstance(batch, torch.Tensor) else batch[self.key]
        end = self.words(torch.zeros(len(tokens), 1, dtype=torch.long))
        return self.head(torch.cat([self.words(tokens), end], dim=1).mean(dim=1))


def drawn(adapter, batch, attributions, titles=None):
    png = adapter.draw(batch, attributions, titles=titles or ["x"] * adapter.size(batch))
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def colours(pixels):
    red = (pixels[..., 0] > pixels[..., 2] + 60).sum()
    blue = (pixels[..., 2] > pixels[..., 0] + 60).sum()
    return int(red), int(blue)


def test_a_text_is_seen_as_its_embeddings():
    task = Ours()
    inputs = TEXTS.inputs(task, BATCH)
    assert torch.equal(inputs, task.model.words.weight[IDS])
    changed = TEXTS.replace(BATCH, 2 * inputs)
    assert torch.equal(TEXTS.inputs(task, changed), 2 * inputs)
    assert torch.equal(changed["input_ids"], IDS)
    assert "inputs_embeds" not in BATCH
    assert TEXTS.targets(changed).tolist() == [1, 0]
    assert TEXTS.size(changed) == 2
    assert torch.equal(TEXTS.outputs(task, TEXTS.replace(BATCH, inputs)), TEXTS.outputs(task, BATCH))
    assert not torch.equal(TEXTS.outputs(task, changed), TEXTS.outputs(task, BATCH))


def test_taking_rows_takes_the_embeddings_along():
    task, rows = Ours(), torch.tensor([1, 0, 1])
    inputs = TEXTS.inputs(task, BATCH)
    for batch in (TEXTS.take(TEXTS.replace(BATCH, inputs), rows), TEXTS.replace(TEXTS.take(BATCH, rows), inputs[rows])):
        assert torch.equal(TEXTS.inputs(task, batch), inputs[rows])
        assert torch.equal(batch["attention_mask"], MASK[rows])
        assert TEXTS.targets(batch).tolist() == [0, 1, 0]


def test_gradients_reach_the_embeddings():
    task = Ours()
    inputs = TEXTS.inputs(task, BATCH).detach().requires_grad_()
    TEXTS.outputs(task, TEXTS.replace(BATCH, inputs))[:, 0].sum().backward()
    assert inputs.grad is not None
    assert inputs.grad[0].abs().min() > 0
    # Padding is masked by the model.
    assert inputs.grad[1, 2:].abs().max() == 0


def test_padding_is_known():
    present = TEXTS.present(TEXTS.replace(BATCH, torch.zeros(2, 4, 5)))
    assert present is not None
    assert present.tolist() == [[True] * 4, [True, True, False, False]]
    assert TEXTS.present({"input_ids": IDS}) is None
    assert adapter_for("text", options={"tokens": 0, "mask": 1}).present((IDS, MASK)).sum() == 6
    assert adapter_for("image").present((torch.zeros(1, 1, 2, 2), torch.zeros(1))) is None


def test_a_token_is_one_unit_across_its_width():
    assert TEXTS.features(torch.zeros(7, 3, 2)).tolist() == [[0, 0], [1, 1], [2, 2]]


@pytest.mark.parametrize("form", ["mapping", "pair", "key"])
def test_a_strangers_task_is_given_embeddings_from_outside(form):
    key = "words" if form == "key" else "input_ids"
    task = Stranger(key)
    batch = (IDS, BATCH["labels"]) if form == "pair" else {key: IDS, "labels": BATCH["labels"]}
    options = {"tokens": 0, "labels": 1} if form == "pair" else {"tokens": key}
    adapter = adapter_for("text", options=options)
    inputs = adapter.inputs(task, batch)
    plain = adapter.outputs(task, batch)
    assert torch.equal(adapter.outputs(task, adapter.replace(batch, inputs)), plain)
    changed = inputs.detach().clone().requires_grad_()
    moved = adapter.outputs(task, adapter.replace(batch, 2 * changed))
    # Only the first use of the layer is replaced.
    by_hand = task.head((2 * inputs.sum(dim=1) + task.words.weight[0]) / 5)
    torch.testing.assert_close(moved, by_hand)
    moved.sum().backward()
    assert changed.grad is not None
    rows = torch.tensor([1, 1])
    again = adapter.take(adapter.replace(batch, inputs), rows)
    torch.testing.assert_close(adapter.outputs(task, again), plain[rows])
    assert adapter.targets(again).tolist() == [0, 0]
    assert not task.words._forward_hooks
    assert drawn(adapter, adapter.replace(batch, inputs), torch.randn(2, 4, 5)).size


class Siamese(LightningModule):
    """Says how alike two texts are: one encoder, and so one embedding, for both; the second text weighs three times."""

    def __init__(self, *, together=False):
        super().__init__()
        self.words = nn.Embedding(12, 5)
        self.encoder = nn.Sequential(nn.Linear(5, 6), nn.GELU())
        self.together = together

    def score(self, left, right):
        left, right = (self.encoder(part).mean(dim=1) for part in (left, right))
        alike = (left * right).sum(dim=1) + 3 * right.sum(dim=1)
        return torch.stack([alike, -alike], dim=1)

    def forward(self, batch):
        left, right = batch["left"], batch["right"]
        if self.together:
            return self.score(*self.words(torch.cat([left, right])).chunk(2))
        # Not in the order of the batch.
        right = self.words(right)
        return self.score(self.words(left), right)


@pytest.mark.parametrize(("together", "same"), [(False, False), (True, False), (False, True)])
def test_each_text_of_a_pair_is_its_own_input_though_one_encoder_reads_both(together, same):
    torch.manual_seed(0)
    task = Siamese(together=together).double().eval()
    left = torch.randint(12, (3, 4))
    right = left.clone() if same else torch.randint(12, (3, 4))
    batch = {"left": left, "right": right, "labels": torch.zeros(3, dtype=torch.long)}
    for key, other in (("left", right), ("right", left)):
        adapter = adapter_for("text", options={"tokens": key})
        inputs = adapter.inputs(task, batch).detach()
        assert torch.equal(inputs, task.words(batch[key]))
        still = task.words(other).detach()
        # On the whole way from nothing to the input, so that what adds the gradients up is right, too.
        for part in (0.0, 0.3, 1.0):
            ours, right_one = (part * inputs.clone() for _ in range(2))
            ends = [ours.requires_grad_(), right_one.requires_grad_()]
            found = adapter.outputs(task, adapter.replace(batch, ours))
            wanted = task.score(*((right_one, still) if key == "left" else (still, right_one)))
            torch.testing.assert_close(found, wanted)
            slopes = [
                torch.autograd.grad(out[:, 0].sum(), end)[0] for out, end in zip((found, wanted), ends, strict=True)
            ]
            torch.testing.assert_close(*slopes)
            assert float(slopes[0].abs().max()) > 0
    assert not task.words._forward_hooks


def test_of_several_embedding_layers_one_is_named():
    task = Stranger(places=True)
    with pytest.raises(Refused, match="words, places") as caught:
        TEXTS.inputs(task, BATCH)
    assert caught.value.problems[0].fix == "+task.adapter.layer=words"
    named = adapter_for("text", options={"layer": "words"})
    assert torch.equal(named.inputs(task, BATCH), task.words.weight[IDS])
    with pytest.raises(Refused, match="no layer of the task"):
        adapter_for("text", options={"layer": "nothing"}).inputs(task, BATCH)
    # A layer that is not used for tokens is no silent success.
    wrong = adapter_for("text", options={"layer": "places"})
    with pytest.raises(ValueError, match="does not embed its tokens"):
        wrong.outputs(task, wrong.replace(BATCH, torch.zeros(2, 4, 5)))
    assert not task.places._forward_hooks


def test_options_that_an_adapter_does_not_have_are_refused():
    with pytest.raises(Refused, match=r"no option 'lyer'.*layer") as caught:
        adapter_for("text", options={"lyer": "words"})
    assert caught.value.problems[0].fix == "~task.adapter.lyer"
    assert adapter_for("image", options={"fields": ["pixels", "label"]}).fields == ("pixels", "label")


def test_sequences_are_scored_token_by_token():
    adapter = adapter_for("text", scoring=TokenScoring(), facts=Facts(decode=lambda numbers: f"<{len(numbers)}>"))
    batch = {**BATCH, "labels": torch.tensor([[3, 4, IGNORED], [5, IGNORED, IGNORED]])}
    assert isinstance(adapter, TextAdapter)
    assert adapter.size(batch) == 2
    assert adapter.told(adapter.scoring.wanted(adapter.targets(batch)[0])) == "<2>"
    assert adapter.take(batch, torch.tensor([1]))["labels"].tolist() == [[5, IGNORED, IGNORED]]


def test_a_class_is_told_by_its_name_also_where_the_data_can_spell_tokens():
    facts = Facts(names=("negative", "positive"), decode=lambda numbers: "[unused0]")
    assert adapter_for("text", facts=facts).told([1]) == "positive"


def test_what_is_for_is_red_and_what_is_against_is_blue():
    attributions = torch.zeros(2, 4, 5)
    attributions[0, 1] = 1.0
    red, blue = colours(drawn(TEXTS, BATCH, attributions)[:60])
    assert red > 100
    assert blue == 0
    red, blue = colours(drawn(TEXTS, BATCH, -attributions)[:60])
    assert red == 0
    assert blue > 100


def test_one_scale_serves_all_texts():
    batch = {"input_ids": torch.full((2, 1), 3), "labels": BATCH["labels"]}
    pixels = drawn(TEXTS, batch, torch.tensor([1.0, 0.5]).reshape(2, 1, 1))
    half = len(pixels) * 3 // 9
    strong, weak = pixels[:half], pixels[half : 2 * half]
    assert colours(strong)[0] > 0
    # The darkest red of the scale, and the one halfway to white.
    assert (strong == [103, 0, 31]).all(axis=-1).any()
    assert not (weak == [103, 0, 31]).all(axis=-1).any()
    assert colours(weak)[0] > 0


def test_padding_and_frames_are_not_drawn():
    one = drawn(TEXTS, BATCH, torch.ones(2, 4, 5))
    loud = torch.ones(2, 4, 5)
    batch = {**BATCH, "input_ids": IDS.clone()}
    # What stands at padding is no matter.
    batch["input_ids"][1, 2:] = 3
    assert np.array_equal(one, drawn(TEXTS, batch, loud))


@pytest.mark.parametrize("nothing", [0.0, float("nan"), float("inf")])
def test_an_attribution_without_a_number_is_grey(nothing):
    pixels = drawn(TEXTS, BATCH, torch.full((2, 4, 5), nothing))
    assert colours(pixels[:110]) == (0, 0)
    assert (pixels[:110] == 191).all(axis=-1).sum() > 500


def test_letters_of_all_kinds_are_drawn_without_a_warning():
    ids = torch.arange(12)[None]
    batch = {"input_ids": ids, "labels": torch.tensor([0])}
    titles = ["says <b>$\\frac$</b> 中文 👍 שלום\ntruth \x07"]
    assert drawn(TEXTS, batch, torch.randn(1, 12, 5), titles=titles).size
    assert drawn(adapter_for("text"), batch, torch.randn(1, 12, 5), titles=titles).size
    images = adapter_for("image")
    assert images.draw((torch.rand(1, 1, 4, 4), 0), torch.rand(1, 1, 4, 4), titles=titles)
    rows = adapter_for("table", facts=Facts(columns=("年龄 $", "👍\u200d")))
    assert rows.draw((torch.rand(1, 2), 0), torch.rand(1, 2), titles=titles)


def test_letters_without_a_font_are_replaced():
    assert drawable("a\n$b") == "a\n$b"
    assert drawable("\U0001f9ff\u200d\tz") == f"{UNKNOWN} z"
    assert cells("ab") == 2
    assert cells("中a") == 3
    assert cells("e\u0301") == 1


def test_a_long_word_ends_where_its_colour_does():
    adapter = adapter_for("text", facts=Facts(spell=lambda numbers: [" " + "m" * 40 for _ in numbers]))
    batch = {"input_ids": torch.zeros(1, 2, dtype=torch.long), "labels": torch.zeros(1)}
    # The second word begins a new line, and takes the dark end of the scale.
    pixels = drawn(adapter, batch, torch.tensor([[[0.3], [1.0]]]))[24:38]
    ink = (pixels.max(axis=2) < 90).any(axis=0).nonzero()[0]
    colour = (pixels[..., 0] > pixels[..., 2] + 30).any(axis=0).nonzero()[0]
    assert len(ink)
    assert colour.min() - 1 <= ink.min()
    assert ink.max() <= colour.max() + 1


def test_words_wrap_and_long_ones_are_broken():
    found = [*placed([" aaa", "b", " cc", "", " d" * 1, " " + "x" * 12], across=6)]
    lines = {}
    for piece in found:
        lines.setdefault(piece.line, []).append((piece.column, piece.text))
    assert lines == {0: [(0, "aaa"), (3, "b")], 1: [(0, "cc"), (3, "d")], 2: [(0, "xxxxxx")], 3: [(0, "xxxxxx")]}
    assert all(piece.column + cells(piece.text) <= ACROSS for piece in placed([" 中" * 3, " y" * 99], across=ACROSS))


def test_drawing_is_repeatable():
    attributions = torch.randn(2, 4, 5)
    assert np.array_equal(drawn(TEXTS, BATCH, attributions), drawn(TEXTS, BATCH, attributions))


@pytest.mark.parametrize(
    ("title", "lines"),
    [
        ("says yes\ntruth no", ["says yes \N{MIDDLE DOT} truth no"]),
        ("says a long one\ntruth another one", ["says a long one", "truth another one"]),
        ("says one that is far too long\ntruth", ["says one that is far to\N{HORIZONTAL ELLIPSIS}", "truth"]),
        (
            "\N{FULLWIDTH LATIN SMALL LETTER A}" * 13,
            ["\N{FULLWIDTH LATIN SMALL LETTER A}" * 11 + "\N{HORIZONTAL ELLIPSIS}"],
        ),
    ],
)
def test_a_caption_that_does_not_fit_takes_a_line_for_each_part(title, lines, monkeypatch):
    monkeypatch.setattr(_text_drawing, "drawable", lambda text: text)
    assert headed(title, across=24) == lines
    assert all(cells(line) <= 24 for line in lines)
