import pytest
import torch

from helpers.tones import Tones
from steelyard.measurement import Status
from steelyard.models import KeywordCNN
from steelyard.problem import Refused
from steelyard.synthesis import Recogniser
from steelyard.synthesis._measuring import Sounds, intelligibility


def sounds():
    corpus = Tones().corpus
    return corpus.inputs, corpus.targets


def stored(path, net):
    torch.save({"state_dict": {f"model.{name}": value for name, value in net.state_dict().items()}}, path)
    return path


def test_it_learns_and_learns_the_same_from_the_same_seed():
    samples, words = sounds()
    options = {"classes": 3, "sample_rate": 4000, "epochs": 10, "seed": 3}
    one, other = (Recogniser.learnt(samples, words, **options) for _ in range(2))
    assert float((one.heard(samples) == words).double().mean()) > 0.95
    assert torch.equal(one.heard(samples), other.heard(samples))


def test_a_stored_one_answers_as_it_did(tmp_path):
    torch.manual_seed(0)
    net = KeywordCNN(input_shape=(400,), classes=3, sample_rate=4000).eval()
    path = stored(tmp_path / "last.ckpt", net)
    found = Recogniser.stored(path, length=400, classes=3, sample_rate=4000)
    samples, _ = sounds()
    assert torch.equal(found.heard(samples), net(samples).argmax(dim=1))


def test_one_of_other_words_is_refused(tmp_path):
    path = stored(tmp_path / "last.ckpt", KeywordCNN(input_shape=(400,), classes=5, sample_rate=4000))
    with pytest.raises(Refused, match=r"last\.ckpt is no model=keyword_cnn of 3 words") as caught:
        Recogniser.stored(path, length=400, classes=3, sample_rate=4000)
    assert caught.value.problems[0].fix == "task.recogniser=null"


def test_one_who_understands_nobody_is_a_failed_control():
    samples, words = sounds()
    net = KeywordCNN(input_shape=(400,), classes=3, sample_rate=4000)
    with torch.no_grad():
        net.head.weight.zero_()
        net.head.bias.copy_(torch.tensor([9.0, 0.0, 0.0]))
    made = Sounds(samples=samples, words=torch.zeros_like(words))
    found = {
        row.name: row
        for row in intelligibility(made, Sounds(samples=samples, words=words), recogniser=Recogniser(net), classes=3)
    }
    # It takes everything for the first word, which is all that was made.
    assert found["intelligibility"].value == 1
    assert found["intelligibility"].status is Status.INVALID
    assert "does not understand real sounds" in found["intelligibility"].note
