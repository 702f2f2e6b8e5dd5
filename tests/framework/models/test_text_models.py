import json

import pytest
import torch
from torch import nn

from steelyard.models import Bert, Causal
from steelyard.problem import Refused

SIZES = {"vocab_size": 20, "max_length": 12}
ENDS = {"bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0}
SMALL = {"width": 16, "heads": 2, "layers": 1}
IDS = torch.tensor([[2, 5, 6, 7, 3], [2, 8, 3, 0, 0]])
BATCH = {"input_ids": IDS, "attention_mask": (IDS != 0).long()}


def bert(**options):
    return Bert(**SIZES, classes=3, **{**SMALL, **options})


def causal(**options):
    return Causal(**SIZES, **ENDS, **{**SMALL, **options})


MODELS = {"bert": bert, "gpt_neox": lambda **o: causal(**o), "gpt2": lambda **o: causal(kind="gpt2", **o)}


@pytest.fixture(params=MODELS)
def make(request):
    return MODELS[request.param]


def test_embeddings_stand_for_tokens(make):
    model = make().eval()
    rest = {"attention_mask": BATCH["attention_mask"], "inputs_embeds": model.embed(IDS)}
    torch.testing.assert_close(model(rest), model(BATCH))


def test_padding_and_neighbours_change_nothing(make):
    model = make().eval()
    both = model(BATCH)
    alone = model({key: value[1:, :3] for key, value in BATCH.items()})
    counted = both[1:, :3] if both.dim() == 3 else both[1:]
    torch.testing.assert_close(counted, alone)
    other = {**BATCH, "input_ids": IDS.masked_fill(IDS == 0, 9)}
    again = model(other)
    torch.testing.assert_close(again[1:, :3] if both.dim() == 3 else again[1:], counted)


@pytest.mark.parametrize("kind", ["gpt_neox", "gpt2"])
def test_a_causal_model_never_looks_ahead(kind):
    model = causal(kind=kind).eval()
    changed = {**BATCH, "input_ids": IDS.clone()}
    changed["input_ids"][0, 3] = 11
    before, after = model(BATCH)[0], model(changed)[0]
    torch.testing.assert_close(before[:3], after[:3])
    assert not torch.allclose(before[3:], after[3:])


@pytest.mark.parametrize("kind", ["gpt_neox", "gpt2"])
def test_it_writes_what_is_most_likely(kind):
    model = causal(kind=kind).eval()
    start = {"input_ids": IDS[:1, :2], "attention_mask": torch.ones(1, 2, dtype=torch.long)}
    written = model.write(start, beams=1, most=3)[0]
    known = IDS[:1, :2]
    for token in written:
        logits = model({"input_ids": known, "attention_mask": torch.ones_like(known)})
        assert int(logits[0, -1].argmax()) == int(token)
        known = torch.cat([known, token[None, None]], dim=1)


def test_lora_trains_small_matrices_beside_all_linear_layers(make):
    model = make(lora_rank=2)
    trained = {name for name, weight in model.named_parameters() if weight.requires_grad}
    assert trained
    assert all("lora_" in name or name.startswith("head.") for name in trained)
    plain = make()
    linear = [
        name
        for name, module in plain.body.named_modules()
        if isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D"
    ]
    adapted = {name.partition(".lora_A")[0].removeprefix("body.") for name in trained if "lora_A" in name}
    assert adapted == {name for name in linear if name not in ("embed_out", "lm_head")}
    # At first they change nothing.
    with torch.no_grad():
        known = {name.replace(".base_layer", ""): value for name, value in model.state_dict().items()}
        plain.load_state_dict({name: value for name, value in known.items() if "lora_" not in name})
        torch.testing.assert_close(model.eval()(BATCH), plain.eval()(BATCH))


@pytest.fixture
def stored(tmp_path):
    torch.manual_seed(0)
    model = bert()
    model.body.save_pretrained(tmp_path)
    return tmp_path, model


def test_stored_weights_are_taken_and_ready_to_be_trained(stored):
    place, model = stored
    again = bert(pretrained=str(place), width=99)
    for name, weight in model.body.state_dict().items():
        assert torch.equal(weight, again.body.state_dict()[name])
    assert all(module.training for module in again.modules())


def test_a_pickle_is_refused(stored):
    place, model = stored
    (place / "model.safetensors").unlink()
    torch.save(model.body.state_dict(), place / "pytorch_model.bin")
    with pytest.raises(Refused, match=r"pytorch_model\.bin is a pickle"):
        bert(pretrained=str(place))


def test_weights_of_another_shape_are_refused(stored):
    place, _ = stored
    config = json.loads((place / "config.json").read_text())
    (place / "config.json").write_text(json.dumps({**config, "hidden_size": 32, "intermediate_size": 128}))
    with pytest.raises(Refused, match="of another shape"):
        bert(pretrained=str(place))


def test_weights_that_do_not_fit_the_data_are_refused(stored):
    place = str(stored[0])
    with pytest.raises(Refused, match="the tokeniser has 99 tokens") as caught:
        Bert(vocab_size=99, max_length=12, classes=2, pretrained=place)
    assert caught.value.problems[0].fix == f"data.tokenizer={place}"
    with pytest.raises(Refused, match=r"texts have up to 50 tokens.* takes 12") as caught:
        Bert(vocab_size=20, max_length=50, classes=2, pretrained=place)
    assert caught.value.problems[0].fix == "data.max_length=12"


def test_a_package_that_is_missing_is_named_with_how_to_get_it():
    with pytest.raises(Refused, match="no_such_bert, which is not installed") as caught:
        bert(pretrained="package://no_such_bert/model")
    assert "pip install no-such-bert" in str(caught.value)


def test_widths_and_heads_that_do_not_go_together_are_refused(make):
    with pytest.raises(Refused, match="the model cannot be made"):
        make(heads=3)


def test_an_unknown_kind_is_refused():
    with pytest.raises(Refused, match=r"model\.kind is 'lstm'") as caught:
        causal(kind="lstm")
    assert caught.value.problems[0].fix == "model.kind=gpt_neox"
