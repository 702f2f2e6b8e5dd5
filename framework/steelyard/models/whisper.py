"""A transformer that writes down what it hears."""

from collections.abc import Sequence
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from steelyard.kinds import Kind
from steelyard.models import _speech
from steelyard.models._pretrained import pretrained as stored
from steelyard.models.hearing import check_sound, levelled
from steelyard.models.mel import LogMel
from steelyard.models.whisper_mel import WhisperMel
from steelyard.problem import refuse

END = 0
"""The token before the first and after the last."""
FRESH = ("model.decoder.embed_tokens.", "proj_out.")
"""What stands for the tokens, which are the data's own."""


@final
class Whisper(nn.Module):
    """The encoder and decoder of Whisper (Radford et al. 2022) of transformers, with letters as tokens.

    It hears log-mel bands, levelled example by example, and writes one token after the other.

    Args:
        input_shape: (T,) of one example.
        classes: Number of tokens, of which 0 is the beginning and the end.
        sample_rate: Samples a second.
        longest: Most tokens of a text.
        width: Of the states.
        layers: Of encoder and decoder each.
        heads: Of the attention; divides `width`.
        mels: Number of mel bands.
        window: Samples in a window.
        hop: Samples from one window to the next.
        dropout: Probability that a value is dropped in training.
        pretrained: A folder, `package://NAME/FOLDER` or a name of the hub whose weights are taken; all sizes, bands and
            windows are then its own, and what stands for the tokens is new. Speech must have 16,000 samples a second.

    Raises:
        Refused: If an example is no sound, an option is out of range, or the weights cannot be loaded safely or do not
            fit the data.
    """

    does = frozenset({Kind.AUDIO_TO_TEXT})

    def __init__(
        self,
        *,
        input_shape: Sequence[int],
        classes: int,
        sample_rate: int,
        longest: int,
        width: int = 96,
        layers: int = 2,
        heads: int = 4,
        mels: int = 40,
        window: int = 256,
        hop: int = 80,
        dropout: float = 0.0,
        pretrained: str | None = None,
    ) -> None:
        super().__init__()
        check_sound(input_shape, model="whisper")
        self.longest = longest
        tokens = {
            "vocab_size": classes,
            "pad_token_id": END,
            "bos_token_id": END,
            "eos_token_id": END,
            "decoder_start_token_id": END,
            "suppress_tokens": None,
            "begin_suppress_tokens": None,
        }
        if pretrained is not None:
            self.network: Any = stored(
                pretrained, of="AutoModelForSpeechSeq2Seq", extra="speech", fresh=FRESH, **tokens, dropout=dropout
            )
            config: Any = self.network.config
            if longest >= config.max_target_positions:
                raise refuse(
                    f"texts have up to {longest} tokens, model.pretrained={pretrained} writes "
                    f"{config.max_target_positions - 1}",
                    fix="model.pretrained=null",
                )
            # The stored way to write is one of the stored tokens.
            self.network.generation_config = _speech.writing(config)
            self.mel: WhisperMel | LogMel = WhisperMel(
                sample_rate=sample_rate,
                mels=config.num_mel_bins,
                frames=2 * config.max_source_positions,
                longest=input_shape[0],
            )
            return
        if width % heads:
            raise refuse(f"model.heads={heads} does not divide model.width={width}", fix="model.heads=4")
        self.mel = LogMel(sample_rate=sample_rate, mels=mels, window=window, hop=hop)
        frames = 1 + input_shape[0] // hop
        # The encoder takes two frames at a time.
        self.spare = frames % 2
        self.network = _speech.made(
            "AutoModelForSpeechSeq2Seq",
            "WhisperConfig",
            **tokens,
            num_mel_bins=mels,
            d_model=width,
            encoder_layers=layers,
            decoder_layers=layers,
            encoder_attention_heads=heads,
            decoder_attention_heads=heads,
            encoder_ffn_dim=2 * width,
            decoder_ffn_dim=2 * width,
            max_source_positions=(frames + self.spare) // 2,
            max_target_positions=longest + 1,
            dropout=dropout,
        )

    def forward(self, inputs: Tensor, texts: Tensor) -> Tensor:
        """Logits (B, L, classes) for every token of the texts (B, L), given those before it."""
        before = torch.cat([torch.full_like(texts[:, :1], END), texts[:, :-1]], dim=1).clamp(min=END)
        return self.network(input_features=self._heard(inputs), decoder_input_ids=before, use_cache=False).logits

    @torch.no_grad()
    def write(self, inputs: Tensor, *, beams: int) -> Tensor:
        """The text found by beam search, one beam being greedy: tokens (B, at most `longest`), filled up with 0."""
        states = self.network.get_encoder()(self._heard(inputs))
        with _speech.silent():
            return self.network.generate(
                encoder_outputs=states, num_beams=beams, max_new_tokens=self.longest, do_sample=False
            )

    def _heard(self, inputs: Tensor) -> Tensor:
        heard = self.mel(inputs)
        return heard if isinstance(self.mel, WhisperMel) else pad(levelled(heard), (0, self.spare))
