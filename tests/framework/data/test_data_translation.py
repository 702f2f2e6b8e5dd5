import random

import pytest
import torch

from steelyard.data import Translation
from steelyard.data.tokens import IGNORED
from steelyard.data.translation import ADJECTIVES, DETERMINERS, STEMS, TENSES, VERBS, Phrase, Sentence, drawn
from steelyard.problem import Refused


@pytest.fixture(scope="module")
def data():
    made = Translation(count=400, tokens="words")
    made.setup("fit")
    return made


DOG = Phrase(determiner="the", adjective="small", noun="dog", plural=False)
LAMPS = Phrase(determiner="this", adjective="red", noun="lamp", plural=True)
TREE = Phrase(determiner="no", adjective=None, noun="tree", plural=False)
KNIVES = Phrase(determiner="every", adjective="old", noun="knife", plural=True)


@pytest.mark.parametrize(
    ("sentence", "english", "foreign"),
    [
        (
            Sentence(subject=DOG, verb="watch", tense="present", thing=LAMPS, place="near", landmark=TREE),
            "the small dog watches these red lamps near no tree",
            "dumo no kel olvirin ruvel sel vidau kav miku du",
        ),
        (
            Sentence(subject=KNIVES, verb="need", tense="past", thing=TREE, place=None, landmark=DOG),
            "all old knives needed no tree",
            "dumon no nodulur grelri stalur omur",
        ),
        (
            Sentence(subject=LAMPS, verb="obey", tense="future", thing=DOG, place="without", landmark=KNIVES),
            "these red lamps will obey the small dog without all old knives",
            "grelri stalur omur nom kavn miku du huseshel olviri ruvel sel",
        ),
    ],
)
def test_sentences_are_translated_by_the_rules(sentence, english, foreign):
    assert (sentence.english(), sentence.foreign()) == (english, foreign)


def test_the_verb_agrees_with_the_subject_which_stands_last():
    draw = random.Random(3)
    endings = set()
    for sentence in (drawn(draw) for _ in range(300)):
        words = sentence.foreign().split()
        about = 2 + (sentence.subject.adjective is not None)
        verb, subject = words[-about - 1], words[-about:]
        stem = VERBS[sentence.verb] + TENSES[sentence.tense]
        assert verb == stem + subject[-1].removeprefix(DETERMINERS[sentence.subject.determiner])
        assert subject[0].startswith(STEMS[sentence.subject.noun])
        if sentence.subject.adjective:
            assert subject[1].removeprefix(ADJECTIVES[sentence.subject.adjective]) == verb.removeprefix(stem)
        endings.add(verb.removeprefix(stem))
    # Three genders and two numbers: one English verb has six forms, so that no dictionary of words translates it.
    assert len(endings) == 6


def test_a_sentence_has_one_translation_and_comes_once():
    translated = {}
    draw = random.Random(4)
    for sentence in (drawn(draw) for _ in range(5000)):
        assert translated.setdefault(sentence.english(), sentence.foreign()) == sentence.foreign()
    records = Translation(count=600).records
    assert len({*records.texts}) == 600


def test_no_test_sentence_is_learned(data):
    assert not {*data.texts_of("test")} & {*data.texts_of("train")}


def test_the_data_are_always_the_same():
    assert Translation(count=50).fingerprint() == Translation(count=50, split_seed=3).fingerprint()
    assert Translation(count=50).fingerprint() != Translation(count=51).fingerprint()
    longer = Translation(count=80).records
    assert [*longer.texts[:50]] == [*Translation(count=50).records.texts]


def test_batches_hold_the_text_and_its_translation(data):
    batch = next(iter(data.test_dataloader()))
    labels = batch["labels"]
    assert {name: part.dtype for name, part in batch.items()} == dict.fromkeys(batch, torch.int64)
    ends = (labels == data.vocabulary.end).sum(dim=1)
    assert torch.equal(ends, torch.ones(32, dtype=torch.int64))
    assert not bool((labels == data.vocabulary.begin).any())
    for row, text, answer in zip(range(32), data.texts_of("test"), data.answers_of("test"), strict=False):
        assert data.decode(batch["input_ids"][row].tolist()) == text
        tokens = labels[row][labels[row] != IGNORED]
        assert int(tokens[-1]) == data.vocabulary.end
        # A word that the training split does not hold is left out.
        known = data.vocabulary.spell(tokens.tolist())
        assert data.decode(tokens.tolist()).split() == [word for word in answer.split() if f" {word}" in known]


def test_too_few_sentences_are_refused():
    with pytest.raises(Refused, match=r"data\.count is 9, must be at least 10") as caught:
        Translation(count=9)
    assert caught.value.problems[0].fix == "data.count=8000"


def test_texts_over_the_length_are_refused_by_their_row():
    with pytest.raises(Refused, match=r"row \d+ of the made-up language pair has 1\d tokens") as caught:
        Translation(count=100, tokens="words", max_length=9, too_long="refuse").setup("fit")
    assert caught.value.problems[0].fix.startswith("data.max_length=1")


def test_what_is_cut_still_ends():
    data = Translation(count=100, tokens="words", max_length=7)
    data.setup("fit")
    batch = next(iter(data.val_dataloader()))
    assert batch["labels"].shape[1] <= 7
    last = (batch["labels"] != IGNORED).sum(dim=1) - 1
    assert bool((batch["labels"].gather(1, last[:, None]) == data.vocabulary.end).all())
