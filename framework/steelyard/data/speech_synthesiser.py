"""Speech made by espeak-ng, kept on disk once it is made."""

import hashlib
import os
import shutil
import subprocess
import zipfile
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass
from functools import partial
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from steelyard.data.sound import Sound, resample
from steelyard.data.speakers import Speaker
from steelyard.folder import write_atomically
from steelyard.problem import refuse

PROGRAM = "espeak-ng"
QUIET = 0.01
"""Below this part of full scale, the beginning and the end are silence."""
RECIPE = "1"
"""Changes whenever the same words would give other samples."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Utterance:
    """What somebody says.

    Attributes:
        text: English words.
        speaker: Who says it.
    """

    text: str
    speaker: Speaker


def spoken(utterances: Sequence[Utterance], *, rate: int, cache: Path) -> list[NDArray[np.int16]]:
    """The samples of each utterance without the silence round it, from the cache where it was made before.

    Args:
        utterances: What is said.
        rate: Samples a second.
        cache: A folder; one file is kept for each list of utterances.

    Raises:
        Refused: If espeak-ng is missing or fails, or the cache cannot be written.
    """
    version = _version({said.speaker.variant for said in utterances})
    told = "\n".join(f"{said.text}\t{astuple(said.speaker)}" for said in utterances)
    key = hashlib.sha256(f"{RECIPE}\n{version}\n{rate}\n{told}".encode()).hexdigest()[:16]
    kept = cache.expanduser() / f"speech-{key}.npz"
    found = _load(kept, count=len(utterances))
    if found is None:
        _make(kept.parent)
        # Each is a process of its own: threads only wait for them.
        with ThreadPoolExecutor(max_workers=2 * (os.cpu_count() or 1)) as pool:
            found = list(pool.map(partial(_speak, rate=rate), utterances))
        _save(kept, found)
    return found


def _version(variants: AbstractSet[str]) -> str:
    program = shutil.which(PROGRAM)
    if program is None:
        raise refuse(
            f"speech is made by {PROGRAM}, which is not installed: on Debian and Ubuntu "
            f"`sudo apt-get install {PROGRAM}`, on macOS `brew install {PROGRAM}`",
            fix="data=digits",
        )
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)  # noqa: S603
    version, _, place = said.stdout.partition("Data at:")
    # What it does not know it leaves out without a word, and different people would have one voice.
    known = Path(place.strip()) / "voices" / "!v"
    missing = sorted(variants - {path.name for path in known.glob("*")})
    if known.is_dir() and missing:
        raise refuse(f"{version.strip()} does not know the voice variants {', '.join(missing)}", fix="data.variants=20")
    return version.strip()


def _speak(said: Utterance, *, rate: int) -> NDArray[np.int16]:
    who = said.speaker
    words = [PROGRAM, "-v", f"{who.accent}+{who.variant}", "-s", str(who.speed), "-p", str(who.pitch), "--stdout", "--"]
    done = subprocess.run([*words, said.text], capture_output=True, check=False)  # noqa: S603
    if done.returncode or len(done.stdout) <= 44:
        reason = done.stderr.decode(errors="replace").strip() or "it said nothing"
        raise refuse(f"{' '.join(words)} {said.text!r} failed: {reason}", fix="data=digits")
    # The header of a stream promises no length, so it is read by hand: the rate at byte 24, the samples from byte 44.
    made = Sound(
        samples=np.frombuffer(done.stdout, dtype="<i2", offset=44).astype(np.float32) / np.float32(32768),
        rate=int.from_bytes(done.stdout[24:28], "little"),
    )
    samples = resample(made, rate=rate).samples
    loud = np.flatnonzero(np.abs(samples) > QUIET)
    if not len(loud):
        raise refuse(f"{' '.join(words)} {said.text!r} made only silence", fix="data=digits")
    part = samples[loud[0] : loud[-1] + 1]
    return np.round(np.clip(part, -1, 1) * 32767).astype(np.int16)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise refuse(f"speech is kept in {folder}, which cannot be made: {error}", fix="data.cache=FOLDER") from error


def _save(path: Path, made: Sequence[NDArray[np.int16]]) -> None:
    packed = BytesIO()
    np.savez(packed, samples=np.concatenate(made), lengths=np.array([len(one) for one in made]))
    write_atomically(path, packed.getvalue())


def _load(path: Path, *, count: int) -> list[NDArray[np.int16]] | None:
    """What is kept; None where there is nothing, or nothing that can be read: then it is made anew."""
    try:
        # Numpy leaves a file open that it cannot read.
        with np.load(BytesIO(path.read_bytes()), allow_pickle=False) as kept:
            samples, lengths = kept["samples"], kept["lengths"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    if len(lengths) != count or lengths.sum() != len(samples):
        return None
    return np.split(samples, np.cumsum(lengths)[:-1])
