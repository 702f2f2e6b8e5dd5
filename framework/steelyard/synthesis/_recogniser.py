# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""Whether somebody who has learnt from people understands what a model says."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor, nn

from steelyard import checkpoints
from steelyard.models.keyword_cnn import KeywordCNN
from steelyard.optimisation.schedules import OneCycle
from steelyard.problem import refuse


@final
class Recogniser:
    """A `KeywordCNN`, learnt from real sounds or read from the checkpoint of one that did.

    Args:
        net: From samples (B, T) to logits (B, words).
    """

    def __init__(self, net: KeywordCNN) -> None:
        self._net = net.eval()

    @classmethod
    def learnt(
        cls, sounds: Tensor, words: Tensor, *, classes: int, sample_rate: int, epochs: int, seed: int
    ) -> "Recogniser":
        """Trains one by AdamW; it draws from torch's global stream, so fork it round the call.

        Args:
            sounds: (N, T).
            words: (N,).
            classes: Number of words.
            sample_rate: Samples a second.
            epochs: Times that all of them are heard.
            seed: Of the weights and of the order.
        """
        torch.manual_seed(seed)
        net = KeywordCNN(input_shape=sounds.shape[1:], classes=classes, sample_rate=sample_rate).to(sounds.device)
        batches = [*_batches(len(sounds), epochs=epochs)]
        optimizer = torch.optim.AdamW(net.parameters(), lr=0.005)
        schedule = OneCycle()(optimizer, steps=len(batches))
        with torch.enable_grad():
            for chosen in batches:
                optimizer.zero_grad()
                nn.functional.cross_entropy(net(sounds[chosen]), words[chosen]).backward()
                optimizer.step()
                schedule.step()
        return cls(net)

    @classmethod
    def stored(cls, path: Path, *, length: int, classes: int, sample_rate: int) -> "Recogniser":
        """One from the checkpoint of `experiment=keyword`, with the model's sizes as they are there by default.

        Raises:
            Refused: If there is none, or it is of another shape.
        """
        net = KeywordCNN(input_shape=(length,), classes=classes, sample_rate=sample_rate)
        state: dict[str, Any] = checkpoints.load(path)["state_dict"]
        own = {name.removeprefix("model."): value for name, value in state.items() if name.startswith("model.")}
        try:
            net.load_state_dict(own)
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:200]
            raise refuse(
                f"task.recogniser={path} is no model=keyword_cnn of {classes} words: {reason}",
                fix="task.recogniser=null",
            ) from error
        return cls(net)

    @torch.no_grad()
    def heard(self, sounds: Tensor) -> Tensor:
        """The word (N,) that it takes each sound (N, T) for."""
        return torch.cat([self._net(part).argmax(dim=1) for part in sounds.split(64)])


def _batches(count: int, *, epochs: int, size: int = 64) -> Iterator[Tensor]:
    for _ in range(epochs):
        yield from torch.randperm(count).split(size)
