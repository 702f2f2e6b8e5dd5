import json

import pytest
import torch

from steelyard.data.tokens import IGNORED
from steelyard.models import EncoderDecoder
from steelyard.models.writer import Writer, ended
from steelyard.problem import Refused

PAD, BEGIN, END = 0, 2, 3
SIZES = {"vocab_size": 20, "pad_token_id": PAD, "bos_token_id": BEGIN, "eos_token_id": END, "max_length": 12}
KINDS = ("bart", "t5")


def made(kind="bart", **options):
    torch.manual_seed(0)
    return EncoderDecoder(**{**SIZES, "width": 16, "layers": 1, "heads": 2, "kind": kind, **options}).eval()


def batch(lengths=(7, 4, 9), answers=(5, 3, 2), *, seed=1):
    """Texts and answers of several lengths, padded at the end."""
    draw = torch.Generator().manual_seed(seed)
    ids = torch.full((len(lengths), max(lengths)), PAD)
    labels = torch.full((len(answers), max(answers)), IGNORED)
    for row, (length, answer) in enumerate(zip(lengths, answers, strict=True)):
        ids[row, :length] = torch.randint(4, 20, (length,), generator=draw)
        labels[row, :answer] = torch.cat([torch.randint(4, 20, (answer - 1,), generator=draw), torch.tensor([END])])
    return {"input_ids": ids, "attention_mask": (ids != PAD).long(), "labels": labels}


def alone(whole, row):
    """One example without any padding."""
    length, answer = int(whole["attention_mask"][row].sum()), int((whole["labels"][row] != IGNORED).sum())
    cut = {"input_ids": length, "attention_mask": length, "labels": answer}
    return {name: whole[name][row : row + 1, :many] for name, many in cut.items()}


def learnt(kind):
    """Has learnt how long to answer: its first token tells how many others the text's first one asks for."""
    model = made(kind, width=32, dropout=0.0)
    steps = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for step in range(60):
        whole = batch((6, 5, 4, 6) * 8, (4, 4, 4, 4) * 8, seed=step)
        whole["labels"] = answers_to(whole["input_ids"])
        loss = torch.nn.functional.cross_entropy(model(whole).transpose(1, 2), whole["labels"])
        steps.zero_grad()
        loss.backward()
        steps.step()
    return model


def answers_to(texts):
    """The first token, up to three times, by its number."""
    many = (texts[:, :1] - 4) % 3 + 1
    places = torch.arange(4)
    return torch.where(places < many, texts[:, :1], torch.where(places == many, END, IGNORED))


@pytest.mark.parametrize("kind", KINDS)
def test_logits_for_every_token_of_the_answer(kind):
    model, whole = made(kind), batch()
    assert isinstance(model, Writer)
    assert model(whole).shape == (3, 5, 20)


@pytest.mark.parametrize("kind", KINDS)
def test_a_token_knows_those_before_it_and_none_behind(kind):
    model, whole = made(kind), batch()
    changed = {**whole, "labels": whole["labels"].clone()}
    changed["labels"][0, 2] = 4 + (whole["labels"][0, 2] - 3) % 16
    before, after = model(whole), model(changed)
    assert torch.equal(before[0, :3], after[0, :3])
    assert not torch.allclose(before[0, 3], after[0, 3])
    assert torch.equal(before[1:], after[1:])


@pytest.mark.parametrize("kind", KINDS)
def test_padding_changes_nothing(kind):
    model, whole = made(kind), batch()
    logits = model(whole)
    for row, answer in enumerate((5, 3, 2)):
        torch.testing.assert_close(logits[row, :answer], model(alone(whole, row))[0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_embeddings_stand_for_their_tokens(kind):
    model, whole = made(kind), batch()
    embedded = {name: part for name, part in whole.items() if name != "input_ids"}
    embedded["inputs_embeds"] = model.embed(whole["input_ids"]).detach().requires_grad_()
    assert torch.equal(model(embedded), model(whole))
    assert torch.equal(model.write(embedded, beams=2, most=5), model.write(whole, beams=2, most=5))
    model(embedded).sum().backward()
    assert bool(embedded["inputs_embeds"].grad.abs().sum(dim=2).gt(0).eq(whole["attention_mask"].bool()).all())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("beams", [1, 3])
def test_an_answer_is_the_same_alone_as_among_others(kind, beams):
    model = learnt(kind)
    whole = batch((6, 3, 5, 4, 6), (4, 3, 3, 4, 3), seed=7)
    together = model.write(whole, beams=beams, most=8)
    lengths = set()
    for row, tokens in enumerate(together):
        found = model.write(alone(whole, row), beams=beams, most=8)[0]
        said = [token for token in tokens.tolist() if token != IGNORED]
        assert [token for token in found.tolist() if token != IGNORED] == said
        lengths.add(len(said))
    assert len(lengths) > 1, "answers of one length say nothing of padding"


@pytest.mark.parametrize("kind", KINDS)
def test_greedy_writing_takes_the_likeliest_token_each_time(kind):
    model, whole = learnt(kind), batch(seed=5)
    written = model.write(whole, beams=1, most=6)
    labels = torch.full((3, 6), IGNORED)
    for place in range(6):
        labels[:, place] = END
        labels[:, place] = model({**whole, "labels": labels[:, : place + 1]})[:, place].argmax(dim=1)
    assert torch.equal(ended(labels, end=END)[:, : written.shape[1]], written)


def test_beam_search_finds_answers_at_least_as_likely_as_greedy_search():
    model, whole = learnt("bart"), batch((6, 6, 6, 6), (3, 3, 3, 3), seed=9)

    def likelihood(tokens):
        logits = model({**whole, "labels": tokens}).log_softmax(dim=2)
        chosen = logits.gather(2, tokens.clamp(min=0)[:, :, None])[:, :, 0] * (tokens != IGNORED)
        return chosen.sum(dim=1) / (tokens != IGNORED).sum(dim=1)

    greedy, beam = (likelihood(model.write(whole, beams=beams, most=6)) for beams in (1, 4))
    assert bool((beam >= greedy - 1e-5).all())


def test_behind_the_end_there_is_nothing():
    written = torch.tensor([[5, END, PAD, PAD], [END, END, 4, PAD], [5, 6, 7, 8]])
    gone = IGNORED
    assert ended(written, end=END).tolist() == [[5, END, gone, gone], [END, gone, gone, gone], [5, 6, 7, 8]]


@pytest.mark.parametrize("kind", KINDS)
def test_answers_and_texts_may_be_as_long_as_the_data_say(kind):
    model, whole = made(kind), batch((12, 12), (12, 12))
    assert model(whole).shape == (2, 12, 20)
    assert model.write(whole, beams=2, most=12).shape[1] <= 12


@pytest.mark.parametrize("kind", KINDS)
def test_stored_weights_come_back(kind, tmp_path):
    model, whole = made(kind), batch()
    model.body.save_pretrained(tmp_path)
    again = EncoderDecoder(**SIZES, pretrained=str(tmp_path)).eval()
    assert torch.equal(again(whole), model(whole))
    assert torch.equal(again.write(whole, beams=2, most=5), model.write(whole, beams=2, most=5))


def stored(tmp_path, kind="t5", **changes):
    made(kind).body.save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return str(tmp_path)


@pytest.mark.parametrize(
    ("changes", "sizes", "message", "fix"),
    [
        ({}, {"vocab_size": 21}, "the tokeniser has 21 tokens, .* has 20", "data.tokenizer="),
        ({}, {"pad_token_id": 1}, "has pad_token_id 0, the data's tokeniser has 1", "data.tokenizer="),
        ({}, {"eos_token_id": 4}, "has eos_token_id 3, the data's tokeniser has 4", "data.tokenizer="),
        ({"decoder_start_token_id": None}, {}, "decoder_start_token_id is None", "model.pretrained=FOLDER"),
        ({"decoder_start_token_id": 20}, {}, "decoder_start_token_id is 20", "model.pretrained=FOLDER"),
    ],
)
def test_weights_that_do_not_fit_the_tokeniser_are_refused(changes, sizes, message, fix, tmp_path):
    with pytest.raises(Refused, match=message) as caught:
        EncoderDecoder(**{**SIZES, **sizes}, pretrained=stored(tmp_path, **changes))
    assert caught.value.problems[0].fix.startswith(fix)


def test_texts_longer_than_the_stored_model_takes_are_refused(tmp_path):
    with pytest.raises(Refused, match=r"texts have up to 30 tokens, .* takes 13") as caught:
        EncoderDecoder(**{**SIZES, "max_length": 30}, pretrained=stored(tmp_path, "bart"))
    assert caught.value.problems[0].fix == "data.max_length=13"


def test_a_pickle_is_refused(tmp_path):
    place = stored(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(Refused, match=r"pytorch_model\.bin is a pickle"):
        EncoderDecoder(**SIZES, pretrained=place)


def test_weights_of_another_kind_of_model_are_refused(tmp_path):
    from transformers import BertConfig, BertModel

    BertModel(BertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, vocab_size=20)).save_pretrained(
        tmp_path
    )
    with pytest.raises(Refused, match="cannot be loaded"):
        EncoderDecoder(**SIZES, pretrained=str(tmp_path))


@pytest.mark.parametrize(
    ("options", "message"), [({"kind": "marian"}, "model.kind is 'marian'"), ({"heads": 3}, "cannot be made")]
)
def test_options_that_make_no_model_are_refused(options, message):
    with pytest.raises(Refused, match=message):
        made(**options)


@pytest.mark.parametrize("kind", KINDS)
def test_low_rank_matrices_are_all_that_is_trained(kind):
    model, whole = made(kind, lora_rank=2), batch()
    trained = {name for name, weight in model.named_parameters() if weight.requires_grad}
    assert trained
    assert all("lora_" in name for name in trained)
    # The second factor begins at zero.
    assert torch.equal(model(whole), made(kind)(whole))
