import numpy as np
import pytest
import torch

from steelyard.data import AudioCSV, AudioFolder, SpokenStrings
from steelyard.data.alphabet import IGNORED, LETTERS, Alphabet, filled
from steelyard.problem import Refused

soundfile = pytest.importorskip("soundfile")
RATE = 8000


def tone(hertz, *, seconds=0.5, rate=RATE):
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(int(rate * seconds)) / rate)).astype(np.float32)


@pytest.fixture
def folder(tmp_path):
    for place, name in enumerate(("low", "high")):
        (tmp_path / name).mkdir()
        for number in range(6):
            soundfile.write(
                tmp_path / name / f"{number}.wav", tone(200 * (4 * (1 - place) + 1) + number, rate=RATE), RATE
            )
    (tmp_path / "low" / ".DS_Store").write_text("")
    return tmp_path


def table(folder, *rows, names="path,text,who"):
    path = folder / "all.csv"
    path.write_text("\n".join([names, *rows]) + "\n")
    return path


def test_a_folder_for_each_class(folder):
    data = AudioFolder(root=folder, sample_rate=RATE, seconds=1.0)
    data.setup("fit")
    assert data.names == ("high", "low")
    assert data.sizes["classes"] == 2
    assert data.sizes["sample_rate"] == RATE
    assert data.sizes["names"] == data.names
    assert data.corpus.targets.tolist() == [0] * 6 + [1] * 6
    inputs = data.corpus.inputs
    assert inputs.shape == (12, RATE)
    # In the middle of silence.
    np.testing.assert_allclose(inputs[0, 2000:6000], soundfile.read(folder / "high" / "0.wav")[0], atol=1e-4)
    assert not inputs[0, :2000].any()
    assert len(next(iter(data.train_dataloader()))[0]) == 8


def test_any_rate_and_format_is_taken_or_refused(folder):
    soundfile.write(folder / "low" / "fast.flac", tone(200, rate=44100), 44100)
    data = AudioFolder(root=folder, sample_rate=RATE, seconds=0.5)
    data.setup("fit")
    np.testing.assert_allclose(data.corpus.inputs[-1, 400:-400], tone(200)[400:-400], atol=0.01)
    with pytest.raises(Refused, match=r"fast.flac has 44100 samples a second, data.sample_rate is 8000"):
        AudioFolder(root=folder, sample_rate=RATE, resampling=False).setup("fit")


def test_all_bad_files_are_named_at_once(folder):
    low = folder / "low"
    (low / "broken.wav").write_bytes(b"RIFFnothing")
    soundfile.write(low / "empty.wav", np.zeros(0, dtype=np.float32), RATE)
    soundfile.write(low / "nan.wav", np.array([0, np.nan], dtype=np.float32), RATE, subtype="FLOAT")
    soundfile.write(low / "silent.wav", np.zeros(4000, dtype=np.float32), RATE)
    with pytest.raises(Refused) as caught:
        AudioFolder(root=folder, sample_rate=RATE).setup("fit")
    for problem, (name, said) in zip(
        caught.value.problems,
        [
            ("broken.wav", "cannot be read"),
            ("empty.wav", "is empty"),
            ("nan.wav", "no finite numbers"),
            ("silent.wav", "is silent"),
        ],
        strict=True,
    ):
        assert name in problem.message
        assert said in problem.message
        assert problem.fix
    for name in ("broken", "empty", "nan"):
        (low / f"{name}.wav").unlink()
    AudioFolder(root=folder, sample_rate=RATE, silence=True).setup("fit")


def test_folders_that_will_not_do_are_refused(folder, tmp_path_factory):
    with pytest.raises(Refused, match=r"data\.root is not set"):
        AudioFolder()
    with pytest.raises(Refused, match="has 0 folders"):
        AudioFolder(root=folder / "nowhere").setup("fit")
    with pytest.raises(Refused, match="has 0 folders"):
        AudioFolder(root=folder / "low").setup("fit")
    (folder / "none").mkdir()
    with pytest.raises(Refused, match="none has no files"):
        AudioFolder(root=folder).setup("fit")
    with pytest.raises(Refused, match="must be more than 0"):
        AudioFolder(root=folder, seconds=0)


def test_a_row_for_each_sound_with_its_text(folder):
    rows = [f"{name}/{number}.wav,Say {name.upper()},{number % 4}" for name in ("low", "high") for number in range(6)]
    path = table(folder, *rows)
    data = AudioCSV(
        path=path, speaker_column="who", sample_rate=RATE, seconds=0.6, val_fraction=0.25, test_fraction=0.25
    )
    data.setup("fit")
    assert data.corpus.inputs.shape == (12, 4800)
    assert data.corpus.targets.shape == (12, len("say high") + 1)
    assert data.sizes["longest"] == 9
    assert data.sizes["classes"] == 29
    assert data.decode(data.corpus.targets[0].tolist()) == "say low"
    assert data.decode(data.corpus.targets[-1].tolist()) == "say high"
    voices = [{*data.groups_of(part).tolist()} for part in ("train", "val", "test")]
    assert [len(part) for part in voices] == [2, 1, 1]
    assert set.union(*voices) == {0, 1, 2, 3}
    assert AudioCSV(path=path, sample_rate=RATE, seconds=0.6).groups_of("test") is None


@pytest.mark.parametrize(
    ("row", "options", "said", "fix"),
    [
        ("gone.wav,hello,1", {}, r"all\.csv, row 3: there is no file .*gone\.wav", "data.audio_column=path"),
        ("low/1.wav,  ,1", {}, r"all\.csv, row 3: the text is empty", "data.empty=drop"),
        ("low/1.wav,été,1", {}, r"all\.csv, row 3: 'été' has 'é', which is not in data\.alphabet", "é"),
        ("low/1.wav,hello,1", {"text_column": "words"}, "has no column 'words'", "data.text_column"),
        ("low/1.wav,hello,1", {"seconds": 0.4}, r"0\.wav takes 0\.50 s, data\.seconds is 0\.4", "data.seconds=0.5"),
        ("low/1.wav,hello", {}, r"row 3: 2 cells, 3 columns", ""),
    ],
)
def test_rows_that_will_not_do_are_named(folder, row, options, said, fix):
    path = table(folder, "low/0.wav,hello,0", row)
    with pytest.raises(Refused, match=said) as caught:
        AudioCSV(**{"path": path, "sample_rate": RATE, "seconds": 1.0, **options}).setup("fit")
    assert fix in caught.value.problems[0].fix


def test_rows_without_a_text_can_be_left_out(folder):
    path = table(folder, "low/0.wav,hello,0", "low/1.wav, ,0", "high/2.wav,hi,0")
    corpus = AudioCSV(path=path, sample_rate=RATE, seconds=1.0, empty="drop").read()
    assert len(corpus.inputs) == 2
    assert corpus.targets[:, :3].tolist() == [Alphabet().encode(word, where="")[:3] for word in ("hello", "hi")]


def test_the_path_of_the_table_has_to_be_set():
    with pytest.raises(Refused, match=r"data\.path is not set"):
        AudioCSV()


def test_letters_are_tokens_and_zero_ends_a_text():
    alphabet = Alphabet()
    tokens = alphabet.encode("  It's\tME ", where="")
    assert tokens[-1] == 0
    assert min(tokens[:-1]) >= 1
    assert alphabet.decode(tokens) == "it's me"
    assert alphabet.decode([0, IGNORED, 999]) == ""
    assert alphabet.tokens == len(LETTERS) + 1
    assert filled([[1, 2, 0], [3]]).tolist() == [[1, 2, 0], [3, IGNORED, IGNORED]]
    for letters in ("", "a", "aab"):
        with pytest.raises(Refused, match="each letter once"):
            Alphabet(letters)


@pytest.fixture
def spoken(monkeypatch):
    """No synthesiser: every utterance is as many samples of 1 as it has letters times 100."""
    monkeypatch.setattr(
        "steelyard.data.spoken_strings.spoken",
        lambda said, rate, cache: [np.ones(100 * len(one.text), dtype=np.int16) for one in said],
    )


def test_strings_are_of_the_length_that_is_asked_for_and_always_the_same_ones(spoken):
    options = {"variants": 5, "speakers_per_variant": 2, "strings": 3, "least": 1, "most": 3}
    data = SpokenStrings(**options, val_fraction=0.2, test_fraction=0.2)
    data.setup("fit")
    texts = [one.text for one in data.said]
    assert len(texts) == 30
    assert {len(text.split()) for text in texts} == {1, 2, 3}
    assert texts == [one.text for one in SpokenStrings(**options).said]
    assert texts != [one.text for one in SpokenStrings(**options, content_seed=1).said]
    assert [data.decode(row.tolist()) for row in data.corpus.targets] == texts
    assert data.sizes["longest"] == max(map(len, texts)) + 1
    assert {*data.groups_of("test").tolist()}.isdisjoint(data.groups_of("train").tolist())
    inputs, targets = next(iter(data.test_dataloader()))
    assert inputs.shape == (6, 17600)
    assert targets.dtype == torch.int64


@pytest.mark.parametrize(("held_out", "parts"), [("variants", 4), ("speakers", 8)])
def test_whole_variants_or_single_speakers_are_held_out(spoken, held_out, parts):
    data = SpokenStrings(
        variants=4, speakers_per_variant=2, strings=3, held_out=held_out, val_fraction=0.25, test_fraction=0.25
    )
    data.setup("fit")
    groups = data.corpus.groups
    assert groups.tolist() == [at // (24 // parts) for at in range(24)]
    voices = [{*data.groups_of(part).tolist()} for part in ("train", "val", "test")]
    assert [len(part) for part in voices] == [parts // 2, parts // 4, parts // 4]
    assert set.union(*voices) == {*range(parts)}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"least": 3, "most": 2}, r"data\.least=3 and data\.most=2"),
        ({"strings": 0}, r"data\.strings is 0"),
        ({"held_out": "words"}, r"data\.held_out is 'words'"),
        ({"alphabet": "ab"}, "which is not in data"),
        ({"seconds": 0.1}, r"takes 0\.\d+ s at \d+ words a minute, data\.seconds is 0\.1"),
    ],
)
def test_strings_that_cannot_be_said_are_refused(spoken, options, said):
    with pytest.raises(Refused, match=said):
        SpokenStrings(**{"variants": 5, **options}).setup("fit")
