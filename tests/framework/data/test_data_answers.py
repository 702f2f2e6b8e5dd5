"""Texts with answers from files of one's own."""

import json

import pytest

from steelyard.data import Translation
from steelyard.data.huggingface import HuggingFace
from steelyard.data.tokens import IGNORED
from steelyard.problem import Refused


def written(path, rows):
    path.write_text("".join(json.dumps({"source": text, "target": answer}) + "\n" for text, answer in rows))
    return str(path)


def read(path, rows, **options):
    columns = {"text_column": "source", "answer_column": "target", "tokens": "words", "batch_size": 8}
    made = HuggingFace(path=written(path, rows), **{**columns, **options})
    made.setup("fit")
    return made


def pairs(count=40):
    records = Translation(count=count).records
    return [*zip(records.texts, records.answers, strict=True)]


@pytest.mark.parametrize("name", ["pairs.json", "pairs.jsonl"])
def test_json_with_an_answer_column_is_learned_and_written(tmp_path, name):
    data = read(tmp_path / name, pairs())
    batch = next(iter(data.train_dataloader()))
    assert batch["input_ids"].shape[0] == batch["labels"].shape[0] == 8
    assert batch["labels"].dim() == 2
    assert {*zip(data.texts_of("test"), data.answers_of("test"), strict=True)} <= {*pairs()}
    assert "classes" not in data.sizes


def test_the_tokeniser_is_learned_from_texts_and_answers_of_the_training_split(tmp_path):
    data = read(tmp_path / "pairs.json", pairs())
    for text in [*data.texts_of("train"), *data.answers_of("train")]:
        spelt = data.vocabulary.spell(data.vocabulary.encode([text])[0])
        assert len([piece for piece in spelt if piece]) == len(text.split())


@pytest.mark.parametrize("answer", ["", "   ", None])
def test_an_empty_answer_is_refused_by_its_row(tmp_path, answer):
    rows = pairs()
    rows[6] = (rows[6][0], answer)
    with pytest.raises(Refused, match=r"pairs\.json \(train\), row 7, target: the text is empty") as caught:
        read(tmp_path / "pairs.json", rows)
    assert caught.value.problems[0].fix == "data.empty=drop"
    rows[2] = (answer, rows[2][1])
    data = read(tmp_path / "pairs.json", rows, empty="drop")
    left = [pair for at, pair in enumerate(rows) if at not in (2, 6)]
    assert [*zip(data.records.texts, data.records.answers, strict=True)] == left
    assert data.records.row(2) == 4


def test_a_test_set_of_its_own_stays_the_test_set_without_its_empty_rows(tmp_path):
    import datasets

    splits = {"train": ["a", None, "b"], "test": ["c", "", "d", "e"]}
    made = {split: datasets.Dataset.from_dict({"text": texts}) for split, texts in splits.items()}
    datasets.DatasetDict(made).save_to_disk(str(tmp_path / "own"))
    found = HuggingFace(path=str(tmp_path / "own"), empty="drop").read()
    assert found.texts == ["a", "b", "c", "d", "e"]
    assert found.tests == 3


def test_a_missing_answer_column_is_refused_naming_those_that_are_there(tmp_path):
    with pytest.raises(Refused, match=r"has no column 'summary'; it has 'source', 'target'") as caught:
        read(tmp_path / "pairs.json", pairs(), answer_column="summary")
    assert caught.value.problems[0].fix.startswith("data.answer_column=")


def test_classes_and_answers_at_once_are_refused(tmp_path):
    with pytest.raises(Refused, match="both set") as caught:
        read(tmp_path / "pairs.json", pairs(), label_column="target")
    assert caught.value.problems[0].fix == "data.answer_column=null"


def test_a_longer_answer_is_refused_by_its_row(tmp_path):
    rows = pairs()
    rows[3] = (rows[3][0], " ".join(["word"] * 30))
    with pytest.raises(Refused, match=r"row 4 of .*pairs\.json has 32 tokens, data\.max_length is 20") as caught:
        read(tmp_path / "pairs.json", rows, max_length=20, too_long="refuse")
    assert caught.value.problems[0].fix == "data.max_length=32"


def test_a_longer_answer_is_cut_and_still_ends(tmp_path):
    rows = [(text, " ".join(["word"] * 30)) for text, _ in pairs()]
    data = read(tmp_path / "pairs.json", rows, max_length=20)
    labels = next(iter(data.val_dataloader()))["labels"]
    assert labels.shape[1] == 19
    assert bool((labels[:, -1] == data.vocabulary.end).all())
    # The truth that written answers are held against is what was read.
    assert data.answers_of("val")[0] == rows[0][1]


def test_an_answer_of_unknown_words_is_learned_as_unknown(tmp_path):
    data = read(tmp_path / "pairs.json", pairs())
    numbers = data.vocabulary.encode(["zzz qqq"])[0]
    assert numbers == [data.vocabulary.begin, 1, 1, data.vocabulary.end]
    assert data.decode(numbers) == ""


def test_labels_of_one_batch_end_where_their_answer_ends(tmp_path):
    data = read(
        tmp_path / "pairs.json", [(text, " ".join("abcdefg"[: 1 + at % 7])) for at, (text, _) in enumerate(pairs())]
    )
    for batch in data.val_dataloader():
        labels = batch["labels"]
        lengths = (labels != IGNORED).sum(dim=1)
        assert bool((labels.gather(1, lengths[:, None] - 1) == data.vocabulary.end).all())
