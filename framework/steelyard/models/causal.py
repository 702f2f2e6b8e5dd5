"""Causal language models, writing a text from left to right."""

from collections.abc import Mapping
from typing import Any, Literal, final, get_args

import torch
from torch import Tensor, nn

from steelyard.kinds import Kind
from steelyard.models import _transformers
from steelyard.models.writer import ended
from steelyard.problem import refuse

Family = Literal["gpt_neox", "gpt2"]
FAMILIES: Mapping[str, str] = {"gpt_neox": "GPTNeoX", "gpt2": "GPT2"}


@final
class Causal(nn.Module):
    """A GPT: GPT-NeoX (Black et al. 2022), with rotary positions and untied embeddings, or GPT-2 (Radford et al. 2019).

    Args:
        vocab_size: Tokens of the data.
        bos_token_id: The token that begins a text.
        eos_token_id: The token that ends a text.
        pad_token_id: The padding token.
        max_length: Most tokens of a text.
        kind: `gpt_neox` or `gpt2`; of no effect with `pretrained`.
        width: Of every state.
        layers: Of the stack.
        heads: Of the attention; divides `width`.
        dropout: Probability that a value is dropped in training.
        pretrained: A folder, `package://NAME/FOLDER` or a name of the hub whose weights are taken.
        lora_rank: Trains matrices of this rank beside all linear layers, and freezes all else; 0 is off.
        lora_alpha: Scale of these matrices, times the rank.
    """

    does = frozenset({Kind.TEXT})

    def __init__(
        self,
        *,
        vocab_size: int,
        bos_token_id: int,
        eos_token_id: int,
        pad_token_id: int,
        max_length: int,
        kind: Family = "gpt_neox",
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
            raise refuse(
                f"model.kind is {kind!r}, must be one of {', '.join(get_args(Family))}", fix="model.kind=gpt_neox"
            )
        of = "AutoModelForCausalLM"
        if pretrained is not None:
            self.body: Any = _transformers.loaded(pretrained, of=of, vocabulary=vocab_size, longest=max_length)
        else:
            shared = {"vocab_size": vocab_size, "bos_token_id": bos_token_id, "eos_token_id": eos_token_id}
            make = _neox if kind == "gpt_neox" else _gpt2
            self.body = _transformers.built(
                FAMILIES[kind], {**shared, **make(width, layers, heads, dropout, max_length)}, of=of
            )
        self.pad, self.end = pad_token_id, eos_token_id
        if lora_rank:
            _transformers.adapt(self.body, rank=lora_rank, alpha=lora_alpha)

    def embed(self, tokens: Tensor) -> Tensor:
        """What stands for each token: (B, L) -> (B, L, width); `forward` takes it as `inputs_embeds`."""
        return self.body.get_input_embeddings()(tokens)

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Logits (B, L, vocabulary) for the token after each of `input_ids` (or `inputs_embeds`)."""
        mask = batch["attention_mask"]
        given = "inputs_embeds" if "inputs_embeds" in batch else "input_ids"
        # Texts begin at the left, so a token never looks at the padding behind it.
        places = torch.arange(mask.shape[1], device=mask.device).expand(mask.shape)
        return self.body(**{given: batch[given]}, attention_mask=mask, position_ids=places, use_cache=False).logits

    @torch.no_grad()
    def write(self, batch: Mapping[str, Tensor], *, beams: int, most: int) -> Tensor:
        """How each text of `input_ids` goes on; see `Writer`. What it begins with should not hold the end of a text."""
        tokens, mask = (_to_the_right(batch[name], batch["attention_mask"]) for name in ("input_ids", "attention_mask"))
        written: Tensor = self.body.generate(
            input_ids=tokens,
            attention_mask=mask,
            num_beams=beams,
            max_new_tokens=most,
            do_sample=False,
            early_stopping=beams > 1,
            pad_token_id=self.pad,
            eos_token_id=self.end,
        )
        return ended(written[:, tokens.shape[1] :], end=self.end)


def _to_the_right(rows: Tensor, mask: Tensor) -> Tensor:
    """Rows (B, L) with their padding before them, so that each goes on where it stops."""
    length = mask.shape[1]
    places = torch.arange(length, device=mask.device) - (length - mask.sum(dim=1, keepdim=True))
    return rows.gather(1, places.remainder(length))


def _neox(width: int, layers: int, heads: int, dropout: float, longest: int) -> Mapping[str, Any]:
    return {
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": 4 * width,
        "max_position_embeddings": longest,
        "hidden_dropout": dropout,
        "attention_dropout": dropout,
    }


def _gpt2(width: int, layers: int, heads: int, dropout: float, longest: int) -> Mapping[str, Any]:
    return {
        "n_embd": width,
        "n_layer": layers,
        "n_head": heads,
        "n_positions": longest,
        "resid_pdrop": dropout,
        "embd_pdrop": dropout,
        "attn_pdrop": dropout,
    }
