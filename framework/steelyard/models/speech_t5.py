"""A transformer that reads letters and speaks a spectrogram."""

import math
from collections.abc import Sequence
from typing import Any, final

import torch
from torch import Tensor, nn

from steelyard.kinds import Kind
from steelyard.models import _speech
from steelyard.models.griffin_lim import sound_of
from steelyard.models.hearing import check_sound
from steelyard.models.mel import LogMel
from steelyard.problem import check_least, refuse

NOTHING = 0
"""The letter that fills up short words."""
CENTRE, SPREAD = -4.0, 4.0
"""Where the log energies of speech lie, in nats: inside the network they are about -1 to 1."""
LONGEST = 4000
"""Steps that the decoder can tell apart."""


@final
class Prenet(nn.Module):
    """What the decoder hears of the frames before: two layers with dropout, and the place of each.

    In the place of the library's: there dropout stays on when nothing is learnt, hits all examples of a batch alike,
    and is right for a probability of one half only.

    Args:
        mels: Bands of a frame.
        width: Of the states.
        dropout: Probability that a value is dropped in training: with little of it the frames before say so much that
            the letters are not read.
    """

    places: Tensor

    def __init__(self, *, mels: int, width: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(mels, width),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(width, width),
        )
        self.register_buffer("places", sinusoids(LONGEST, width), persistent=False)

    def forward(self, frames: Tensor, speaker_embeddings: None = None) -> Tensor:
        """(B, steps, mels) to (B, steps, width); the second argument is the library's, and voices are not told."""
        del speaker_embeddings
        return self.layers(frames) + self.places[: frames.shape[1]]


@final
class SpeechT5(nn.Module):
    """SpeechT5 for text to speech (Ao et al. 2022) of transformers, from the letters of a word to log-mel frames.

    The encoder reads letters; the decoder says some frames at a time, given those before them, which while learning are
    those of the sound itself. Changed from the library's: group norm in place of batch norm, so that no example knows
    of another; dropout in training only; relative places of letters are drawn once and not learnt; and no stop token,
    since all sounds of the data have one length.

    Args:
        input_shape: (T,) of one example.
        sample_rate: Samples a second.
        names: The words, in the order of the targets.
        width: Of the states.
        layers: Of encoder and decoder each.
        heads: Of the attention; divides `width`.
        reduction: Frames that are said at a time.
        mels: Number of mel bands.
        window: Samples in a window.
        hop: Samples from one window to the next.
        dropout: Probability that a value is dropped in training.
        prenet_dropout: The same for what the decoder hears of the frames before.
        pretrained: A folder, `package://NAME/FOLDER` or a name of the hub whose weights are taken. `width`, `layers`,
            `heads`, `reduction`, `mels` and `dropout` are then its own; what stands for letters, voices and the frames
            before is new, and so is the spectrogram that its last layers learn.

    Raises:
        Refused: If an example is no sound, a word has no letters, an option is out of range, or the weights cannot be
            loaded safely.
    """

    does = frozenset({Kind.CLASS_TO_AUDIO})

    texts: Tensor

    def __init__(
        self,
        *,
        input_shape: Sequence[int],
        sample_rate: int,
        names: Sequence[str],
        width: int = 96,
        layers: int = 2,
        heads: int = 4,
        reduction: int = 2,
        mels: int = 40,
        window: int = 256,
        hop: int = 80,
        dropout: float = 0.0,
        prenet_dropout: float = 0.5,
        pretrained: str | None = None,
    ) -> None:
        super().__init__()
        check_sound(input_shape, model="speecht5")
        if width % heads or width % 2:
            raise refuse(f"model.heads={heads} and 2 must divide model.width={width}", fix="model.width=96")
        check_least("model.reduction", reduction, 1, fix=2)
        for name, value in (("dropout", dropout), ("prenet_dropout", prenet_dropout)):
            if not 0 <= value < 1:
                raise refuse(f"model.{name} is {value:g}, must be in [0, 1)", fix=f"model.{name}=0.5")
        texts = spelt(names)
        self.register_buffer("texts", texts, persistent=False)
        letters = {
            # Not asked of the numbers, which nobody has in a plan.
            "vocab_size": NOTHING + 1 + len({*"".join(names)}),
            "max_text_positions": texts.shape[1],
            "pad_token_id": NOTHING,
            "encoder_layerdrop": 0.0,
            "decoder_layerdrop": 0.0,
            "positional_dropout": 0.0,
        }
        if pretrained is None:
            self.network: Any = _speech.speaking(
                pretrained=None,
                **letters,
                hidden_size=width,
                encoder_layers=layers,
                decoder_layers=layers,
                encoder_attention_heads=heads,
                decoder_attention_heads=heads,
                encoder_ffn_dim=2 * width,
                decoder_ffn_dim=2 * width,
                hidden_dropout=dropout,
                attention_dropout=dropout,
                activation_dropout=dropout,
                speech_decoder_postnet_dropout=dropout,
                speech_decoder_postnet_units=width,
                num_mel_bins=mels,
                reduction_factor=reduction,
            )
        else:
            self.network = _speech.speaking(pretrained=pretrained, **letters)
            config: Any = self.network.config
            width, mels, reduction = config.hidden_size, config.num_mel_bins, config.reduction_factor
        self.mel = LogMel(sample_rate=sample_rate, mels=mels, window=window, hop=hop)
        self.length = input_shape[0]
        self.frames = 1 + self.length // hop
        self.reduction = reduction
        self.network.speecht5.decoder.prenet = Prenet(mels=mels, width=width, dropout=prenet_dropout)

    @property
    def classes(self) -> int:
        """Number of words."""
        return len(self.texts)

    def forward(self, samples: Tensor, words: Tensor) -> Tensor:
        """Log energies (B, 2, mels, frames), in nats: before and after the last convolutions refine them.

        Before, those of a step see the frames of the steps before it only; after, their neighbours too.

        Args:
            samples: (B, T) in [-1, 1], whose frames the decoder is told one step late.
            words: (B,).
        """
        frames = (self.mel(samples).transpose(1, 2) - CENTRE) / SPREAD
        states, mask = self._read(words)
        return self._refined(self._foretold(self.late(frames), states, mask))

    def late(self, frames: Tensor) -> Tensor:
        """What each step is told (B, steps, mels) of the frames (B, frames, mels): the last one of the step before."""
        steps = math.ceil(self.frames / self.reduction)
        told = frames[:, self.reduction - 1 :: self.reduction][:, : steps - 1]
        return torch.cat([torch.zeros_like(frames[:, :1]), told], dim=1)

    @torch.no_grad()
    def spectrograms(self, words: Tensor) -> Tensor:
        """What the model says by itself: log energies (B, mels, frames) of words (B,)."""
        states, mask = self._read(words)
        told = self.mel.filters.new_zeros(len(words), 1, self.mel.filters.shape[1])
        steps = math.ceil(self.frames / self.reduction)
        for _ in range(steps - 1):
            said = self._foretold(told, states, mask)
            told = torch.cat([told, said[:, -1:]], dim=1)
        return self._refined(self._foretold(told, states, mask))[:, 1]

    @torch.no_grad()
    def say(self, words: Tensor, *, generator: torch.Generator) -> Tensor:
        """Sounds (B, T) in [-1, 1] of words (B,), their phases by Griffin and Lim."""
        mels = self.spectrograms(words)
        return sound_of(mels, mel=self.mel, length=self.length, generator=generator).clamp(-1, 1)

    def _read(self, words: Tensor) -> tuple[Tensor, Tensor]:
        letters = self.texts[words]
        mask = (letters != NOTHING).long()
        return self.network.speecht5.encoder(input_values=letters, attention_mask=mask).last_hidden_state, mask

    def _foretold(self, told: Tensor, states: Tensor, mask: Tensor) -> Tensor:
        """All frames (B, steps * reduction, mels) that follow what each step is told."""
        heard = self.network.speecht5.decoder(
            input_values=told,
            attention_mask=torch.ones(told.shape[:2], dtype=torch.long, device=told.device),
            encoder_hidden_states=states,
            encoder_attention_mask=mask,
            use_cache=False,
        ).last_hidden_state
        return self.network.speech_decoder_postnet.feat_out(heard).reshape(len(told), -1, told.shape[2])

    def _refined(self, before: Tensor) -> Tensor:
        after = self.network.speech_decoder_postnet.postnet(before)
        both = torch.stack([before, after], dim=1)[:, :, : self.frames]
        return (both * SPREAD + CENTRE).transpose(2, 3)


def spelt(names: Sequence[str]) -> Tensor:
    """Words as the numbers of their letters (words, longest), from 1 in the order of the alphabet, filled up with 0.

    Raises:
        Refused: If a word has no letters.
    """
    if not names or not all(names):
        raise refuse(f"model.names is {list(names)}: at least one word, each with letters", fix="data=spoken_digits")
    numbers = {letter: number for number, letter in enumerate(sorted({*"".join(names)}), start=NOTHING + 1)}
    longest = max(len(name) for name in names)
    return torch.tensor([[numbers[letter] for letter in name] + [NOTHING] * (longest - len(name)) for name in names])


def sinusoids(count: int, width: int) -> Tensor:
    """Places (count, width) as sines and cosines (Vaswani et al. 2017)."""
    turns = torch.arange(count)[:, None] * torch.exp(torch.arange(0, width, 2) * -(math.log(10000.0) / width))
    return torch.stack([turns.sin(), turns.cos()], dim=2).flatten(1)
