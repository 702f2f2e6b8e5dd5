import io
import shutil
import wave

import numpy as np
import pytest
import torch

from steelyard.data import SpokenWords
from steelyard.data.sound import Sound, fitted, read_sound, resample
from steelyard.data.speakers import ACCENTS, PITCHES, SPEEDS, VARIANTS, speakers
from steelyard.data.speech_synthesiser import Utterance, spoken
from steelyard.problem import Refused

speaks = pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="needs Debian's package espeak-ng")


def tone(hertz, *, rate, seconds=1.0, loud=0.5):
    return (loud * np.sin(2 * np.pi * hertz * np.arange(int(rate * seconds)) / rate)).astype(np.float32)


def write(path, samples, *, rate, channels=1):
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.round(samples * 32767).astype("<i2").tobytes())
    return path


def test_what_is_read_are_the_samples_as_one_channel(tmp_path):
    left, right = tone(440, rate=8000), tone(1000, rate=8000)
    path = write(tmp_path / "both.wav", np.stack([left, right], axis=1).reshape(-1), rate=8000, channels=2)
    found = read_sound(path, rate=8000)
    assert found.rate == 8000
    np.testing.assert_allclose(found.samples, (left + right) / 2, atol=1e-4)


@pytest.mark.parametrize("ending", ["flac", "ogg"])
def test_other_formats_are_read_too(tmp_path, ending):
    soundfile = pytest.importorskip("soundfile")
    path = tmp_path / f"tone.{ending}"
    soundfile.write(path, tone(440, rate=8000), 8000)
    assert abs(read_sound(path, rate=8000).samples.std() - 0.5 / 2**0.5) < 0.01


@pytest.mark.parametrize(("given", "wanted"), [(16000, 8000), (8000, 16000), (22050, 8000), (44100, 16000)])
def test_resampling_keeps_a_tone_and_drops_what_does_not_fit(given, wanted):
    kept = resample(Sound(samples=tone(440, rate=given), rate=given), rate=wanted).samples
    middle = slice(wanted // 10, -wanted // 10)
    np.testing.assert_allclose(kept[middle], tone(440, rate=wanted)[middle], atol=0.01)
    if wanted < given:
        too_high = Sound(samples=tone(0.45 * given, rate=given), rate=given)
        assert np.abs(resample(too_high, rate=wanted).samples[middle]).max() < 0.01


def test_a_wrong_rate_is_resampled_or_refused(tmp_path):
    path = write(tmp_path / "fast.wav", tone(440, rate=16000), rate=16000)
    assert len(read_sound(path, rate=8000).samples) == 8000
    with pytest.raises(Refused, match=r"fast.wav has 16000 samples a second, data.sample_rate is 8000") as caught:
        read_sound(path, rate=8000, resampling=False)
    assert caught.value.problems[0].fix == "data.sample_rate=16000 data.resampling=true"


def test_bad_files_are_named(tmp_path):
    soundfile = pytest.importorskip("soundfile")
    corrupt = tmp_path / "corrupt.wav"
    corrupt.write_bytes(b"RIFF and then nothing")
    empty = write(tmp_path / "empty.wav", np.zeros(0), rate=8000)
    nan = tmp_path / "nan.wav"
    soundfile.write(nan, np.array([0.0, np.nan, 1.0], dtype=np.float32), 8000, subtype="FLOAT")
    for path, said in ((corrupt, "cannot be read as audio"), (empty, "is empty"), (nan, "no finite numbers")):
        with pytest.raises(Refused, match=rf"{path.name} .*{said}"):
            read_sound(path, rate=8000)
    with pytest.raises(Refused, match=r"missing.wav cannot be read"):
        read_sound(tmp_path / "missing.wav", rate=8000)


def test_fitted_pads_round_and_cuts_to_the_middle():
    assert fitted(np.array([1, 2, 3]), length=6).tolist() == [0, 1, 2, 3, 0, 0]
    assert fitted(np.arange(7), length=3).tolist() == [2, 3, 4]
    assert fitted(np.arange(6), length=3).tolist() == [1, 2, 3]
    assert fitted(np.arange(3), length=3).tolist() == [0, 1, 2]


def test_speakers_are_the_same_ones_always():
    people = speakers(variants=5, each=3)
    assert people == speakers(variants=5, each=3)
    assert [who.variant for who in people] == [name for name in VARIANTS[:5] for _ in range(3)]
    assert all(
        who.accent in ACCENTS and SPEEDS[0] <= who.speed <= SPEEDS[1] and PITCHES[0] <= who.pitch <= PITCHES[1]
        for who in people
    )
    assert len({*VARIANTS}) == len(VARIANTS)


def without_program(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))


def test_a_missing_synthesiser_is_said_with_the_line_that_installs_it(monkeypatch, tmp_path):
    without_program(monkeypatch, tmp_path)
    data = SpokenWords(variants=3, cache=tmp_path)
    with pytest.raises(Refused, match=r"espeak-ng, which is not installed: .*sudo apt-get install espeak-ng") as caught:
        data.setup("fit")
    assert caught.value.problems[0].fix == "data=digits"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"variants": 2}, "data.variants is 2, must be 3 to 46"),
        ({"variants": 47}, "data.variants is 47"),
        ({"speakers_per_variant": 0}, "data.speakers_per_variant is 0"),
        ({"sample_rate": 1000}, "data.sample_rate is 1000"),
        ({"words": ["one", "one"]}, "each word once"),
        ({"words": []}, "at least one"),
        ({"seconds": 0.0}, "data.seconds is 0"),
    ],
)
def test_options_out_of_range_are_refused(options, said):
    with pytest.raises(Refused, match=said):
        SpokenWords(**options)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    made = SpokenWords(
        words=("yes", "no"),
        variants=5,
        speakers_per_variant=2,
        cache=tmp_path_factory.mktemp("speech"),
        val_fraction=0.2,
        test_fraction=0.4,
    )
    made.setup("fit")
    return made


@speaks
def test_words_are_spoken_in_raw_units_with_names(data):
    inputs, targets = next(iter(data.train_dataloader()))
    assert inputs.shape == (8, 8000)
    assert inputs.dtype == torch.float32
    assert -1 <= inputs.min() < -0.1
    assert 0.1 < inputs.max() <= 1
    assert sorted(targets.tolist()) == [0] * 4 + [1] * 4
    assert data.names == ("yes", "no")
    assert data.sizes == {
        "input_shape": (8000,),
        "classes": 2,
        "mean": 0.0,
        "std": 1.0,
        "sample_rate": 8000,
        "names": ("yes", "no"),
    }
    assert len({tuple(row) for row in data.corpus.inputs[:, ::50].tolist()}) == 20
    # The word stands in the middle of silence.
    loud = data.corpus.inputs[0].nonzero()[:, 0]
    assert abs(int(loud[0]) - (8000 - 1 - int(loud[-1]))) <= 1


@speaks
def test_a_voice_variant_lies_in_one_split_as_a_whole(data):
    voices = [{*data.corpus.groups[part].tolist()} for part in (data.splits.train, data.splits.val, data.splits.test)]
    assert [len(part) for part in voices] == [2, 1, 2]
    assert set.union(*voices) == {0, 1, 2, 3, 4}


@speaks
def test_what_was_made_is_kept_and_made_anew_when_damaged(data, monkeypatch, tmp_path):
    (kept,) = data.cache.glob("*.npz")
    again = SpokenWords(words=("yes", "no"), variants=5, speakers_per_variant=2, cache=tmp_path)
    shutil.copy(kept, tmp_path)
    made = []
    monkeypatch.setattr(
        "steelyard.data.speech_synthesiser._speak", lambda said, rate: made.append(said) or np.ones(9, dtype=np.int16)
    )
    assert again.fingerprint() == data.fingerprint()
    assert not made
    (tmp_path / kept.name).write_bytes(kept.read_bytes()[:1000])
    assert SpokenWords(words=("yes", "no"), variants=5, speakers_per_variant=2, cache=tmp_path).fingerprint()
    assert len(made) == 20


@speaks
def test_the_samples_are_those_of_the_program(tmp_path):
    import subprocess

    who = speakers(variants=1, each=1)[0]
    words = ["espeak-ng", "-v", f"{who.accent}+{who.variant}", "-s", str(who.speed), "-p", str(who.pitch), "seven"]
    path = tmp_path / "seven.wav"
    subprocess.run([*words, "-w", str(path)], check=True)
    with wave.open(io.BytesIO(path.read_bytes())) as file:
        rate, raw = file.getframerate(), np.frombuffer(file.readframes(file.getnframes()), dtype="<i2")
    (found,) = spoken([Utterance(text="seven", speaker=who)], rate=rate, cache=tmp_path)
    loud = np.flatnonzero(np.abs(raw) > 0.01 * 32768)
    np.testing.assert_allclose(found, raw[loud[0] : loud[-1] + 1], atol=1)


@speaks
def test_a_voice_that_is_not_there_is_refused(tmp_path):
    who = speakers(variants=1, each=1)[0]
    for changed, said in (({"variant": "nobody"}, "does not know .* nobody"), ({"accent": "xx"}, "does not exist")):
        utterance = Utterance(text="one", speaker=type(who)(**{**vars_of(who), **changed}))
        with pytest.raises(Refused, match=said):
            spoken([utterance], rate=8000, cache=tmp_path)


def vars_of(who):
    return {name: getattr(who, name) for name in ("accent", "variant", "speed", "pitch")}


@speaks
def test_a_cache_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(Refused, match="cannot be made") as caught:
        SpokenWords(words=("yes",), variants=3, cache=tmp_path / "file" / "below").setup("fit")
    assert caught.value.problems[0].fix == "data.cache=FOLDER"
