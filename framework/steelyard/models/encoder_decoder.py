"""Encoder-decoder models, reading one text and writing another."""

from collections.abc import Mapping
from typing import Any, Literal, final, get_args

import torch
from torch import Tensor, nn

from steelyard.data.tokens import IGNORED
from steelyard.kinds import Kind
from steelyard.models import _transformers
from steelyard.models.writer import ended
from steelyard.problem import refuse

Family = Literal["bart", "t5"]


@final
class EncoderDecoder(nn.Module):
    """A BART (Lewis et al. 2020) or T5 (Raffel et al. 2020).

    Args:
        vocab_size: Tokens of the data, on both sides.
        pad_token_id: The padding token.
        bos_token_id: The token that a BART begins to write with; a T5 begins with padding.
        eos_token_id: The token that ends a text.
        max_length: Most tokens of a text.
        kind: `bart` or `t5`; of no effect with `pretrained`.
        width: Of every state.
        layers: Of the encoder, and of the decoder.
        heads: Of the attention; divides `width`.
        dropout: Probability that a value is dropped in training.
        pretrained: A folder, `package://NAME/FOLDER` or a name of the hub whose weights are taken.
        lora_rank: Trains matrices of this rank beside all linear layers, and freezes all else; 0 is off.
        lora_alpha: Scale of these matrices, times the rank.
    """

    does = frozenset({Kind.TEXT_TO_TEXT})

    def __init__(
        self,
        *,
        vocab_size: int,
        pad_token_id: int,
        bos_token_id: int,
        eos_token_id: int,
        max_length: int,
        kind: Family = "bart",
        width: int = 128,
        layers: int = 2,
        heads: int = 4,
        dropout: float = 0.1,
        pretrained: str | None = None,
        lora_rank: int = 0,
        lora_alpha: float = 16,
    ) -> None:
        super().__init__()
        if kind not in get_args(Family):
            raise refuse(f"model.kind is {kind!r}, must be one of {', '.join(get_args(Family))}", fix="model.kind=bart")
        of = "AutoModelForSeq2SeqLM"
        if pretrained is not None:
            self.body: Any = _transformers.loaded(pretrained, of=of, vocabulary=vocab_size, longest=max_length)
        else:
            shared = {
                "vocab_size": vocab_size,
                "d_model": width,
                "pad_token_id": pad_token_id,
                "bos_token_id": bos_token_id,
                "eos_token_id": eos_token_id,
                "decoder_start_token_id": bos_token_id if kind == "bart" else pad_token_id,
            }
            own = (
                _bart(width, layers, heads, dropout, max_length)
                if kind == "bart"
                else _t5(width, layers, heads, dropout)
            )
            self.body = _transformers.built("Bart" if kind == "bart" else "T5", {**shared, **own}, of=of)
        if pretrained is not None:
            _check_tokens(self.body.config, pretrained, pad_token_id=pad_token_id, eos_token_id=eos_token_id)
        self.start = int(self.body.config.decoder_start_token_id)
        self.pad = pad_token_id
        self.end = eos_token_id
        if lora_rank:
            _transformers.adapt(self.body, rank=lora_rank, alpha=lora_alpha)

    def embed(self, tokens: Tensor) -> Tensor:
        """What stands for each token of the text that is read: (B, L) -> (B, L, width)."""
        return self.body.get_encoder().get_input_embeddings()(tokens)

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Logits (B, T, vocabulary) for `labels` (B, T), from `input_ids` or `inputs_embeds`, and `attention_mask`."""
        labels = batch["labels"]
        known = labels[:, :-1].masked_fill(labels[:, :-1] == IGNORED, self.pad)
        begun = torch.cat([labels.new_full((len(labels), 1), self.start), known], dim=1)
        given = "inputs_embeds" if "inputs_embeds" in batch else "input_ids"
        return self.body(
            **{given: batch[given]}, attention_mask=batch["attention_mask"], decoder_input_ids=begun, use_cache=False
        ).logits

    @torch.no_grad()
    def write(self, batch: Mapping[str, Tensor], *, beams: int, most: int) -> Tensor:
        """See `Writer`."""
        given = "inputs_embeds" if "inputs_embeds" in batch else "input_ids"
        written: Tensor = self.body.generate(
            **{given: batch[given]},
            attention_mask=batch["attention_mask"],
            num_beams=beams,
            max_new_tokens=most,
            do_sample=False,
            early_stopping=beams > 1,
        )
        # The first is the token that it was told to begin with.
        return ended(written[:, 1:], end=self.end)


def _check_tokens(config: Any, place: str, **wanted: int) -> None:
    for name, number in wanted.items():
        if getattr(config, name) != number:
            raise refuse(
                f"model.pretrained={place} has {name} {getattr(config, name)}, the data's tokeniser has {number}",
                fix=f"data.tokenizer={place}",
            )
    start = config.decoder_start_token_id
    if start is None or not 0 <= start < config.vocab_size:
        raise refuse(
            f"model.pretrained={place} does not say which token an answer begins with: "
            f"decoder_start_token_id is {start} in its config.json",
            fix="model.pretrained=FOLDER",
        )


def _bart(width: int, layers: int, heads: int, dropout: float, longest: int) -> Mapping[str, Any]:
    return {
        "encoder_layers": layers,
        "decoder_layers": layers,
        "encoder_attention_heads": heads,
        "decoder_attention_heads": heads,
        "encoder_ffn_dim": 4 * width,
        "decoder_ffn_dim": 4 * width,
        "dropout": dropout,
        # BART begins to write one token before the first.
        "max_position_embeddings": longest + 1,
        # The default of 0.02 suits a width of 1024: at small widths attention would not get away from a mean for long.
        "init_std": width**-0.5,
        "forced_eos_token_id": None,
    }


def _t5(width: int, layers: int, heads: int, dropout: float) -> Mapping[str, Any]:
    return {
        "num_layers": layers,
        "num_decoder_layers": layers,
        "num_heads": heads,
        "d_kv": width // heads,
        "d_ff": 4 * width,
        "dropout_rate": dropout,
        "feed_forward_proj": "relu",
    }
