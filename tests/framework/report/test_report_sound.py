"""Sounds: kept in the run folder, and heard from the page itself."""

import base64
import io
import wave
from dataclasses import replace

import pytest

import report_samples as samples
from report_pages import check_self_contained, page
from steelyard.measurement import Sound
from steelyard.measuring import _keep
from steelyard.report import assets, render
from steelyard.scorecard import StoredArtefact
from steelyard.testing._items import unshowable


def wav():
    packed = io.BytesIO()
    with wave.open(packed, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(20))
    return packed.getvalue()


def sound(**changes):
    return replace(Sound(name="said", title="Ten <words>", wav=wav(), alt="one, two", split="test"), **changes)


def test_a_sound_is_kept_as_it_is(tmp_path):
    stored = _keep("stability.noise", sound(), tmp_path)
    assert stored == StoredArtefact(
        kind="sound", title="Ten <words>", path="stability/noise/said.wav", alt="one, two", split="test"
    )
    assert (tmp_path / stored.path).read_bytes() == wav()


def test_it_is_heard_from_the_page_itself(tmp_path):
    card = samples.scorecard()
    folder = tmp_path / "run"
    stored = StoredArtefact(kind="sound", title="Ten <words>", path="task/said.wav", alt="one, two", split="test")
    first = replace(card.sections[0], artefacts=(*card.sections[0].artefacts, stored))
    samples.write(folder, replace(card, sections=(first, *card.sections[1:])))
    _keep("task", sound(), folder)
    found = page(render(folder))
    check_self_contained(found)
    (player,) = found.named("audio")
    assert base64.b64decode(player.attrs["src"].removeprefix("data:audio/wav;base64,")) == wav()
    assert player.attrs["aria-label"] == "Ten <words>"
    assert "One, two" in found.words


@pytest.mark.parametrize("path", ["task/broken.wav", "task/gone.wav", "../outside.wav"])
def test_what_is_no_sound_is_named_instead(tmp_path, path):
    (tmp_path / "outside.wav").write_bytes(wav())
    folder = tmp_path / "run"
    (folder / "task").mkdir(parents=True)
    (folder / "task" / "broken.wav").write_bytes(b"no sound")
    assert assets.sound(folder, StoredArtefact(kind="sound", title="Words", path=path)).uri == ""


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"wav": b"no sound"}, "its wav cannot be decoded"), ({"alt": " "}, "say in `alt`"), ({"title": ""}, "a title")],
)
def test_a_plugins_sound_is_checked(changes, words):
    assert [*unshowable(sound())] == []
    (fault,) = unshowable(sound(**changes))
    assert words in fault
