# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""The headline figures of speech that a model made."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from steelyard.measurement import Better, Measurement, Sound, Status
from steelyard.runs import Run
from steelyard.statistics import mean_interval, proportion
from steelyard.synthesis._recogniser import Recogniser
from steelyard.synthesis.frame_scoring import PARTS
from steelyard.synthesis.level_scoring import LevelScoring
from steelyard.synthesis.markov import Markov
from steelyard.synthesis.spectral import Cepstrum, distances
from steelyard.wav import wav

PARTNERS = 8
"""Real sounds that each sound is compared with."""
SPECTRA = ("spectral_distance", "closer_to_own_word", "spectral_distance_real", "spectral_distance_noise")
VOICES = "sounds of one voice are alike, so the interval is somewhat too narrow"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sounds:
    """Sounds and what they say, on the CPU.

    Attributes:
        samples: (N, T) in [-1, 1].
        words: (N,).
    """

    samples: Tensor
    words: Tensor


def sounds_of(run: Run, split: str) -> Sounds:
    """All sounds of a split, in the order of its loader."""
    batches = [(batch[0], batch[1]) for batch in run.loader(split)]
    return Sounds(
        samples=torch.cat([samples for samples, _ in batches]), words=torch.cat([words for _, words in batches])
    )


def bits(run: Run) -> Iterator[Measurement]:
    """What a sample costs the model, beside what it costs chains that were counted on the training split."""
    scoring = run.adapter.scoring
    assert isinstance(scoring, LevelScoring)
    train, val, test = (
        scoring.truth(found.samples, found.words)
        for found in (sounds_of(run, split) for split in ("train", "val", "test"))
    )
    chain = Markov.fitted(train, val=val, levels=scoring.levels)
    ours = run.predict("test").losses.double() / math.log(2)
    rows = {
        "bits_per_sample": (ours, Better.LOWER),
        "bits_below_markov": (chain.bits(test) - ours, Better.HIGHER),
        "markov_bits": (chain.bits(test), None),
        "unigram_bits": (chain.alone(test), None),
    }
    for name, (values, better) in rows.items():
        yield _mean(name, values, better=better, unit="bit", note=f"mu-law, {scoring.levels} levels; {VOICES}")


def frame_errors(run: Run, *, late: Callable[[Tensor], Tensor]) -> Iterator[Measurement]:
    """How well frames are foretold from the true ones before them, beside repeating the last one that is known.

    Args:
        run: Of a task whose scoring is `FrameScoring`.
        late: From frames (B, frames, mels) to the last one that each step is told (B, steps, mels).
    """
    adapter = run.adapter
    ours: list[Tensor] = []
    repeated: list[Tensor] = []
    for raw in run.loader("test"):
        batch = run.to_device(raw)
        truth = adapter.targets(batch).float() / PARTS
        with torch.no_grad():
            foretold = adapter.outputs(run.task, batch)[:, 0]
        frames = truth.transpose(1, 2)
        told = late(frames)
        # The first step is told nothing, and here is given the first frame itself.
        told = torch.cat([frames[:, :1], told[:, 1:]], dim=1)
        again = told.repeat_interleave(-(-frames.shape[1] // told.shape[1]), dim=1)[:, : frames.shape[1]]
        ours.append((foretold - truth).abs().mean(dim=(1, 2)).cpu())
        repeated.append((again - frames).abs().mean(dim=(1, 2)).cpu())
    decibels = 10 / math.log(10)
    found, lazy = torch.cat(ours).double() * decibels, torch.cat(repeated).double() * decibels
    rows = {
        "frame_error": (found, Better.LOWER),
        "frame_error_below_repeating": (lazy - found, Better.HIGHER),
        "frame_error_repeating": (lazy, None),
    }
    for name, (values, better) in rows.items():
        yield _mean(name, values, better=better, unit="dB", note=f"told the true frames before; {VOICES}")


def spectra(made: Sounds, real: Sounds, *, sample_rate: int, seed: int) -> Iterator[Measurement]:
    """Mel-cepstral distortion of made and real sounds of the same word, with its controls."""
    places = torch.arange(len(real.words))
    own = [_spread(torch.nonzero(real.words == word)[:, 0]) for word in made.words]
    foreign = [_spread(torch.nonzero(real.words != word)[:, 0]) for word in made.words]
    people = {
        int(row): _spread(torch.nonzero((real.words == real.words[row]) & (places != row))[:, 0])
        for row in _spread(places, most=len(made.words))
    }
    # A small test split may lack a word, or hold it once: what has nothing to stand beside is left out.
    kept = [row for row, beside in enumerate(zip(own, foreign, strict=True)) if all(map(len, beside))]
    heard = [row for row, beside in people.items() if len(beside)]
    if not kept or not heard:
        for name in SPECTRA:
            yield Measurement(
                name=name, status=Status.SKIPPED, note="needs two words in the test split, and one of them twice"
            )
        return
    cepstrum = Cepstrum(sample_rate=sample_rate)
    frames, others = cepstrum(real.samples), cepstrum(made.samples)
    drawing = torch.Generator().manual_seed(seed)
    level = made.samples.square().mean(dim=1, keepdim=True).sqrt()
    noise = cepstrum(torch.randn(made.samples.shape, generator=drawing) * level)
    partners = [own[row] for row in kept]
    ours = _mean_distances(others[kept], frames, partners)
    strange = _mean_distances(others[kept], frames, [foreign[row] for row in kept])
    theirs = _mean_distances(frames[heard], frames, [people[row] for row in heard])
    nothing = _mean_distances(noise[kept], frames, partners)
    deaf = mean_interval(nothing)[0] <= mean_interval(theirs)[0]
    failed = "control failed: noise is no farther from real sounds than they are from each other; " if deaf else ""
    note = f"{failed}mel-cepstral distortion, 13 coefficients, aligned in time, {PARTNERS} test sounds each; {VOICES}"
    status = Status.INVALID if deaf else Status.MEASURED
    rows = {
        SPECTRA[0]: (ours, Better.LOWER, status),
        SPECTRA[1]: (strange - ours, Better.HIGHER, status),
        SPECTRA[2]: (theirs, None, Status.MEASURED),
        SPECTRA[3]: (nothing, None, Status.MEASURED),
    }
    for name, (values, better, state) in rows.items():
        yield _mean(name, values, better=better, unit="dB", note=note, status=state)


def intelligibility(made: Sounds, real: Sounds, *, recogniser: Recogniser, classes: int) -> Iterator[Measurement]:
    """How many made sounds the recogniser understands, beside how many real ones of the test split."""
    understood = int((recogniser.heard(made.samples) == made.words).sum())
    known = int((recogniser.heard(real.samples) == real.words).sum())
    deaf = known <= 2 * len(real.words) / classes
    words = f"by a small network that learnt from real sounds; guessing is {1 / classes:.2g}"
    found = proportion(
        "intelligibility",
        understood,
        len(made.words),
        better=Better.HIGHER,
        split="test",
        note=f"control failed: it does not understand real sounds; {words}" if deaf else words,
        meaning=MEANINGS["intelligibility"],
        status=Status.INVALID if deaf else Status.MEASURED,
    )
    yield found
    yield proportion(
        "intelligibility_real",
        known,
        len(real.words),
        better=None,
        split="test",
        note=f"control: {words}",
        meaning=MEANINGS["intelligibility_real"],
    )


def listen(made: Sounds, real: Sounds, *, sample_rate: int, told: Callable[[Sequence[int]], str]) -> Iterator[Sound]:
    """Each word once, as the model says it, and as somebody of the test split does."""
    for name, sounds, who in (("said", made, "the model"), ("heard", real, "voices of the test split")):
        words = sorted({int(word) for word in sounds.words})
        rows = [int(torch.nonzero(sounds.words == word)[0, 0]) for word in words]
        yield Sound(
            name=name,
            title=f"Every word once, as said by {who}",
            wav=wav(sounds.samples[rows].flatten(), rate=sample_rate),
            alt=f"One after another: {told(words)}.",
            split="test",
        )


MEANINGS = {
    "bits_per_sample": "what is left to be said of a sample of real speech once the model has foretold it",
    "bits_below_markov": "how much more of a sample the model foretells than somebody who looks at the one before only",
    "markov_bits": "what is left to be said of a sample for somebody who looks at the one before only",
    "unigram_bits": "what is left to be said of a sample for somebody who looks at none before",
    "frame_error": "how far the energies in a frame are from what the model foretells after the true frames before it",
    "frame_error_below_repeating": "how much closer that is than the last frame that the model was told",
    "frame_error_repeating": "how far frames are from the last one that the model was told",
    "spectral_distance": "how far the spectra of what the model says are from real ones of the same word",
    "closer_to_own_word": "how much closer the model's words are to real ones of the same word than to other words; "
    "at 0 it would not matter which word it is told",
    "spectral_distance_real": "how far real sounds of one word by different speakers are from each other",
    "spectral_distance_noise": "how far noise is from real sounds",
    "intelligibility": "share of the words made by the model that the recogniser understands",
    "intelligibility_real": "share of the test words, spoken by unknown voices, that the recogniser understands",
}


def _mean(
    name: str,
    values: Tensor,
    *,
    better: Better | None,
    unit: str,
    note: str,
    status: Status = Status.MEASURED,
) -> Measurement:
    mean, interval = mean_interval(values)
    return Measurement(
        name=name,
        value=mean,
        better=better,
        unit=unit,
        interval=interval,
        count=len(values),
        split="test",
        note=note,
        meaning=MEANINGS[name],
        status=status,
    )


def _spread(rows: Tensor, *, most: int = PARTNERS) -> Tensor:
    """At most `most` of the rows, evenly spaced."""
    count = min(most, len(rows))
    return rows[(2 * torch.arange(count) + 1) * len(rows) // (2 * count)]


def _mean_distances(one: Tensor, other: Tensor, partners: Sequence[Tensor]) -> Tensor:
    """The mean distance of each of `one` from its partners among `other`."""
    sizes = [len(rows) for rows in partners]
    far = distances(one.repeat_interleave(torch.tensor(sizes), dim=0), other[torch.cat([*partners])])
    return torch.stack([part.mean() for part in far.split(sizes)])
