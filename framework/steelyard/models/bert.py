"""BERT, reading a text as a whole."""

from collections.abc import Mapping
from typing import Any, final

import torch
from torch import Tensor, nn

from steelyard.kinds import Kind
from steelyard.models import _transformers
from steelyard.models.dropping import dropout_layers


@final
class Bert(nn.Module):
    """A BERT (Devlin et al. 2019) whose last states, averaged over the tokens of the text, go through a linear layer.

    Args:
        vocab_size: Tokens of the data.
        max_length: Most tokens of a text.
        classes: Number of logits.
        width: Of every state.
        layers: Of the stack.
        heads: Of the attention; divides `width`.
        dropout: Probability that a value is dropped in training.
        pretrained: A folder, `package://NAME/FOLDER` or a name of the hub whose weights are taken; `width`, `layers`
            and `heads` are then its own.
        lora_rank: Trains matrices of this rank beside all linear layers, and freezes all else but the last layer; 0 is
            off.
        lora_alpha: Scale of these matrices, times the rank.
    """

    does = frozenset({Kind.TEXT_TO_CLASS})

    def __init__(
        self,
        *,
        vocab_size: int,
        max_length: int,
        classes: int,
        width: int = 128,
        layers: int = 2,
        heads: int = 4,
        dropout: float = 0.1,
        pretrained: str | None = None,
        lora_rank: int = 0,
        lora_alpha: float = 16,
    ) -> None:
        super().__init__()
        dropped = {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
        self.drop = nn.Sequential(*dropout_layers(dropout))
        if pretrained is None:
            config = {
                "vocab_size": vocab_size,
                "hidden_size": width,
                "num_hidden_layers": layers,
                "num_attention_heads": heads,
                "intermediate_size": 4 * width,
                "max_position_embeddings": max_length,
                "type_vocab_size": 1,
                # What stands at padding is masked; an embedding that treats it apart has no per-example rule.
                "pad_token_id": None,
            }
            self.body: Any = _transformers.built("Bert", {**config, **dropped}, of="AutoModel")
        else:
            self.body = _transformers.loaded(
                pretrained, of="AutoModel", vocabulary=vocab_size, longest=max_length, **dropped
            )
        # Its weights would never be used.
        self.body.pooler = None
        if lora_rank:
            _transformers.adapt(self.body, rank=lora_rank, alpha=lora_alpha)
        self.head = nn.Linear(self.body.config.hidden_size, classes)

    def embed(self, tokens: Tensor) -> Tensor:
        """What stands for each token: (B, L) -> (B, L, width); `forward` takes it as `inputs_embeds`."""
        return self.body.get_input_embeddings()(tokens)

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Logits (B, classes) from `input_ids` or `inputs_embeds`, and `attention_mask`."""
        mask = batch["attention_mask"]
        # Said for each example, although all are equal, so that every layer sees the examples in its first dimension.
        places = torch.arange(mask.shape[1], device=mask.device).expand(mask.shape)
        given = "inputs_embeds" if "inputs_embeds" in batch else "input_ids"
        states = self.body(
            **{given: batch[given]}, attention_mask=mask, position_ids=places, token_type_ids=torch.zeros_like(places)
        ).last_hidden_state
        weights = mask[:, :, None].to(states.dtype)
        return self.head(self.drop((states * weights).sum(dim=1) / weights.sum(dim=1)))
