import pytest
import torch

from steelyard.data import HuggingFace, Stories, TextCSV
from steelyard.data.tokens import IGNORED, ByLength, Padding, TokenExamples
from steelyard.data.vocabulary import Vocabulary
from steelyard.problem import Refused

HEAD = "text,label\n"


def file(folder, content, name="texts.csv", encoding="utf-8"):
    path = folder / name
    path.write_bytes(content.encode(encoding))
    return path


def csv(folder, content=None, *, encoding="utf-8", **options):
    content = HEAD + "".join(f"word{n % 5} here,{'ab'[n % 2]}\n" for n in range(40)) if content is None else content
    data = TextCSV(path=file(folder, content, encoding=encoding), **{"tokens": "words", **options})
    data.setup("fit")
    return data


def test_batches_splits_and_sizes(tmp_path):
    data = csv(tmp_path, val_fraction=0.2, test_fraction=0.1, batch_size=8)
    loaders = (data.train_dataloader(), data.val_dataloader(), data.test_dataloader())
    assert [len(loader.dataset) for loader in loaders] == [28, 8, 4]
    batch = next(iter(loaders[0]))
    assert batch["input_ids"].shape == batch["attention_mask"].shape == (8, 4)
    assert batch["labels"].shape == (8,)
    assert data.sizes["classes"] == 2
    assert data.names == ("a", "b")
    assert data.sizes["vocab_size"] == len(data.vocabulary)
    assert data.decode([int(token) for token in batch["input_ids"][0]]).endswith("here")
    assert len(data.texts_of("test")) == 4
    assert data.answers_of("test") is None


def test_the_splits_depend_on_their_seed_alone_and_the_fingerprint_on_none(tmp_path):
    one, same, other = (csv(tmp_path, split_seed=seed) for seed in (0, 0, 1))
    assert one.texts_of("test") == same.texts_of("test")
    assert torch.equal(one.splits.test, same.splits.test)
    assert not torch.equal(one.splits.train, other.splits.train)
    assert one.fingerprint() == other.fingerprint()
    changed = csv(tmp_path, HEAD + "x y,a\n" * 10 + "z,b\n" * 10)
    assert changed.fingerprint() != one.fingerprint()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "cp1252"])
def test_text_in_any_encoding_is_read(tmp_path, encoding):
    content = HEAD + "".join(f"Größe “n{n}”,{n % 2}\n" for n in range(20))
    data = csv(tmp_path, content, encoding=encoding)
    assert data.records.texts[0] == "Größe “n0”"


def test_an_encoding_that_does_not_fit_is_refused_with_its_line(tmp_path):
    with pytest.raises(Refused, match="line 2: the byte 0x") as caught:
        TextCSV(path=file(tmp_path, HEAD + "Größe,1\n", encoding="latin-1"), encoding="utf-8").read()
    assert caught.value.problems[0].fix == "data.encoding=latin-1"
    with pytest.raises(Refused, match="no encoding"):
        TextCSV(path=file(tmp_path, HEAD), encoding="utf-9").read()


@pytest.mark.parametrize(
    ("content", "options", "words", "fix"),
    [
        ("", {}, "is empty", "data.path=FILE.csv"),
        (HEAD, {}, "no row", "data.path=FILE.csv"),
        (HEAD + "a,b\n", {"label_column": "score"}, "no column 'score'", "data.label_column=text"),
        ("text;label\nx;y\n", {}, "no column 'text'", "'data.delimiter=\";\"'"),
        (HEAD + "a,b\nc\n", {}, "row 3: 1 cells, 2 columns", "data.delimiter=..."),
        (HEAD + "a,b\n  ,b\n", {}, "row 3: the text is empty", "data.empty=drop"),
        (HEAD + " ,b\n  ,b\n", {"empty": "drop"}, "row 3: the text is empty, and so are all", "data.text_column=..."),
        (HEAD + "a,0\nb,2\n", {"classes": 2}, "row 3: label is '2', must be a whole number from 0 to 1", None),
        (HEAD + "a,1\nb,x\n", {"threshold": 0}, "row 3: label is 'x', no number", "data.threshold=null"),
        (HEAD + "a,1\nb,9\n", {"threshold": 0, "score_range": [-4, 4]}, "out of the range", "data.score_range=[-4,9]"),
        (HEAD + "a,1\nb,1\n", {}, "in every row", "data.label_column=..."),
        (HEAD + "".join(f"a,{n}.5\n" for n in range(101)), {}, "101 different values", "data.threshold=0"),
        (HEAD + "a,0\nb,1\n", {"class_names": ["x"]}, "1 names; the 2 classes", "data.class_names=null"),
    ],
)
def test_a_bad_file_is_refused_by_file_row_and_fix(tmp_path, content, options, words, fix):
    with pytest.raises(Refused, match=words) as caught:
        TextCSV(path=file(tmp_path, content), **options).read()
    assert "texts.csv" in str(caught.value) or "class_names" in str(caught.value)
    if fix is not None:
        assert caught.value.problems[0].fix == fix


def test_rows_without_a_text_can_be_left_out(tmp_path):
    content = HEAD + "a,1\n ,0\n,x\nb,0\n" + "".join(f"{'long ' * n}c,{n % 2}\n" for n in range(20))
    data = TextCSV(path=file(tmp_path, content), empty="drop", classes=2, max_length=20, too_long="refuse")
    assert data.records.texts[:3] == ["a", "b", "c"]
    assert data.records.labels[:3] == [1, 0, 0]
    # Rows are still those of the file: the first one too long has 18 words, and three rows without a text before it.
    with pytest.raises(Refused, match=r"row 24 of .*texts\.csv has 2\d tokens"):
        data.setup("fit")
    with pytest.raises(Refused, match=r"data\.empty is 'keep', must be refuse or drop") as caught:
        TextCSV(path="texts.csv", empty="keep")
    assert caught.value.problems[0].fix == "data.empty=drop"


def test_a_missing_file_says_where_it_comes_from(tmp_path):
    with pytest.raises(Refused, match="cannot be read"):
        TextCSV(path=tmp_path / "no.csv").read()
    with pytest.raises(Refused, match="ask the library") as caught:
        TextCSV(path=tmp_path / "no.csv", origin="ask the library").read()
    assert caught.value.problems[0].fix == "data.path=FILE.csv"


def test_scores_become_classes_with_names(tmp_path):
    content = HEAD + "a,-1\nb,0\nc,0.5\n"
    found = TextCSV(path=file(tmp_path, content), threshold=0).read()
    assert (found.labels, found.names) == ([0, 0, 1], ("at most 0", "above 0"))
    found = TextCSV(path=file(tmp_path, content), threshold=0, class_names=["bad", "good"]).read()
    assert found.names == ("bad", "good")


def test_long_texts_are_cut_or_refused(tmp_path):
    content = HEAD + "".join(f"{'w ' * 12}x,{n % 2}\n" for n in range(20))
    data = csv(tmp_path, content, max_length=6)
    batch = next(iter(data.test_dataloader()))
    assert batch["input_ids"].shape[1] == 6
    assert (batch["input_ids"][:, -1] == data.vocabulary.end).all()
    with pytest.raises(Refused, match=r"row 2 of .* has 15 tokens, data.max_length is 6") as caught:
        csv(tmp_path, content, max_length=6, too_long="refuse")
    assert caught.value.problems[0].fix == "data.max_length=15"


@pytest.mark.parametrize(
    "options", [{"batch_size": 0}, {"limit": 0}, {"max_length": 2}, {"too_long": "bend"}, {"tokens": "bytes"}]
)
def test_options_out_of_range_are_refused(options):
    with pytest.raises(Refused, match=next(iter(options))):
        Stories(count=20, **options).setup("fit")


def test_batches_of_about_one_length_draw_every_example_once():
    examples = TokenExamples([[1] * (1 + n % 17) for n in range(100)], [0] * 100)
    torch.manual_seed(0)
    drawn = [*ByLength(examples, batch_size=8)]
    assert sorted(drawn) == [*range(100)]
    assert drawn != [*ByLength(examples, batch_size=8)]
    lengths = [examples.lengths[at] for at in drawn]
    spreads = [max(lengths[at : at + 8]) - min(lengths[at : at + 8]) for at in range(0, 96, 8)]
    assert max(spreads) <= 3
    torch.manual_seed(0)
    assert drawn == [*ByLength(examples, batch_size=8)]


def test_padding_marks_what_is_none():
    batch = Padding(pad=7)(
        [
            {"input_ids": torch.tensor([1, 2]), "labels": torch.tensor([3])},
            {"input_ids": torch.tensor([4, 5, 6]), "labels": torch.tensor([1, 2])},
        ]
    )
    assert batch["input_ids"].tolist() == [[1, 2, 7], [4, 5, 6]]
    assert batch["attention_mask"].tolist() == [[1, 1, 0], [1, 1, 1]]
    assert batch["labels"].tolist() == [[3, IGNORED], [1, 2]]


def test_a_vocabulary_spells_words_and_pieces():
    texts = ["playing plays played"] * 5
    words = Vocabulary.learned(texts, tokens="words", size=50, lowercase=True)
    (numbers,) = words.encode(["Playing never"])
    assert words.spell(numbers) == ["", " playing", " [UNK]", ""]
    assert words.decode(numbers) == "playing"
    pieces = Vocabulary.learned(texts, tokens="pieces", size=40, lowercase=True)
    (numbers,) = pieces.encode(["plays"])
    assert "".join(pieces.spell(numbers)) == " plays"
    assert pieces.content() == Vocabulary.learned(texts, tokens="pieces", size=40, lowercase=True).content()


def test_a_tokeniser_is_loaded_from_a_file_or_refused(tmp_path):
    made = Vocabulary.learned(["a b c"] * 3, tokens="words", size=20, lowercase=False)
    (tmp_path / "tokenizer.json").write_text(made.content())
    for place in (tmp_path, tmp_path / "tokenizer.json"):
        assert Vocabulary.loaded(str(place)).encode(["a c"]) == made.encode(["a c"])
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(Refused, match="is no tokeniser"):
        Vocabulary.loaded(str(tmp_path))
    with pytest.raises(Refused, match="inside the package nowhere, which is not installed"):
        Vocabulary.loaded("package://nowhere/model")


@pytest.mark.parametrize("form", ["csv", "json", "parquet", "disk", "folder", "splits"])
def test_the_library_datasets_is_read_offline(tmp_path, form):
    datasets = pytest.importorskip("datasets")
    rows = datasets.Dataset.from_dict({"words": [f"n{n} ü" for n in range(20)], "kind": [n % 3 for n in range(20)]})
    place = tmp_path / f"rows.{form}"
    match form:
        case "csv":
            rows.to_csv(str(place), index=False)
        case "json":
            rows.to_json(str(place))
        case "parquet":
            rows.to_parquet(str(place))
        case "disk":
            rows.save_to_disk(str(place))
        case "folder":
            place.mkdir()
            rows.to_csv(str(place / "train.csv"), index=False)
        case _:
            datasets.DatasetDict({"train": rows, "test": rows.select(range(4))}).save_to_disk(str(place))
    data = HuggingFace(path=str(place), text_column="words", label_column="kind", tokens="words")
    data.setup("fit")
    assert data.sizes["classes"] == 3
    assert data.records.texts[:2] == ["n0 ü", "n1 ü"]
    assert data.records.tests == (4 if form == "splits" else 0)
    alone = HuggingFace(path=str(place), text_column="words").read()
    assert alone.labels is None
    answers = HuggingFace(path=str(place), text_column="words", answer_column="words").read()
    assert answers.answers == answers.texts


def test_bad_data_sets_are_refused(tmp_path):
    pytest.importorskip("datasets")
    path = file(tmp_path, "text,label\nGröße,1\n", encoding="latin-1")
    with pytest.raises(Refused, match="cannot be read") as caught:
        HuggingFace(path=str(path)).read()
    assert caught.value.problems[0].fix == "data.encoding=cp1252"
    assert HuggingFace(path=str(path), encoding="latin-1").read().texts == ["Größe"]
    good = file(tmp_path, "words,kind\na b,1.5\n", name="good.csv")
    for options, words in (
        ({}, "no column 'text'"),
        ({"text_column": "words", "label_column": "kind"}, "row 1: kind is 1.5, no class"),
        ({"text_column": "kind"}, "row 1: kind is 1.5, no text"),
    ):
        with pytest.raises(Refused, match=words):
            HuggingFace(path=str(good), **options).read()
    for name, content, words in (("empty.csv", "", "is empty"), ("x.docx", "x", "its ending is none of")):
        with pytest.raises(Refused, match=words):
            HuggingFace(path=str(file(tmp_path, content, name=name))).read()
    with pytest.raises(Refused, match=r"there is no data\.path"):
        HuggingFace(path=str(tmp_path / "no.csv")).read()
    with pytest.raises(Refused, match="classes or answers"):
        HuggingFace(path="x", label_column="a", answer_column="b")
    with pytest.raises(Refused, match="names the data set"):
        HuggingFace()


def test_stories_are_always_the_same_and_none_comes_twice():
    one, other = Stories(count=60).read(), Stories(count=60).read()
    assert one.texts == other.texts
    assert len({*one.texts}) == 60
    assert one.labels is None
    with pytest.raises(Refused, match="at least 10"):
        Stories(count=9)
