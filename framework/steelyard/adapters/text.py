"""Texts."""

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, final, runtime_checkable

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn

from steelyard._untyped import named_modules
from steelyard.adapters import _text_drawing
from steelyard.adapters.adapter import Adapter, rows_of
from steelyard.narrowing import is_mapping
from steelyard.problem import refuse

EMBEDDED = "inputs_embeds"
"""Where a batch holds what stands in place of its tokens, as in the library transformers."""


@runtime_checkable
class Embedding(Protocol):
    """A model that says what stands for its tokens, and takes it in place of them as `inputs_embeds` of a batch."""

    def embed(self, tokens: Tensor) -> Tensor:
        """(B, L) -> (B, L, width)."""
        ...


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Embedded:
    """A batch that is no mapping, with what stands in place of its tokens."""

    batch: Any
    inputs: Tensor


@final
@dataclass(frozen=True, kw_only=True)
class TextAdapter(Adapter):
    """Tokens (B, L), seen as their embeddings (B, L, width); a token is one unit of attribution across the width.

    A batch is a mapping, or a sequence; the task takes a mapping as a whole, and of a sequence the tokens. A model with
    `embed` (see `Embedding`) finds `inputs_embeds` in the mapping. In any other task the embedding layer is found, or
    named by `layer`, and gives the changed embeddings in place of its own.

    Attributes:
        tokens: Key or place of the token numbers in a batch.
        mask: Key or place of what is 1 at tokens and 0 at padding (B, L); where a batch has none, all are tokens.
        labels: Key or place of the targets: classes (B,), or tokens (B, T) padded by `IGNORED`.
        layer: The name of the layer that embeds the tokens, in a task whose model has no `embed`.
        spell: Token numbers as pieces of text, to be drawn: a space before each word, "" for what is not drawn.
        texts_of: A split -> its texts as they were read, in the order of its unshuffled loader.
        tokenise: Texts -> `input_ids` and `attention_mask` (B, L), as the data module makes them.
    """

    modality: ClassVar[str] = "text"
    unit: ClassVar[str] = "embedding value"

    tokens: str | int = "input_ids"
    mask: str | int = "attention_mask"
    labels: str | int = "labels"
    layer: str | None = None
    spell: Callable[[Sequence[int]], Sequence[str]] | None = None
    texts_of: Callable[[str], Sequence[str]] | None = None
    tokenise: Callable[[Sequence[str]], Mapping[str, Tensor]] | None = None

    def inputs(self, task: LightningModule, batch: Any) -> Tensor:
        """The embeddings of the tokens, or what `replace` put there.

        Raises:
            Refused: If nobody knows which layer embeds the tokens.
        """
        given = _given(batch)
        if given is not None:
            return given
        model = _embedding(task)
        embed = self._layer(task) if model is None or self.layer is not None else model.embed
        return embed(self._field(batch, self.tokens))

    def replace(self, batch: Any, inputs: Tensor) -> Any:
        """The same batch with these embeddings; the tokens stay, to be drawn."""
        whole = _whole(batch)
        return {**whole, EMBEDDED: inputs} if is_mapping(whole) else Embedded(batch=whole, inputs=inputs)

    def take(self, batch: Any, rows: Tensor) -> Any:
        """The chosen rows of everything that has a row per example."""
        if isinstance(batch, Embedded):
            return Embedded(batch=self.take(batch.batch, rows), inputs=batch.inputs[rows])
        return rows_of(batch, rows, self.size(batch))

    def outputs(self, task: LightningModule, batch: Any) -> Any:
        """What the task's `forward` gives."""
        if self.layer is None and is_mapping(batch) and _embedding(task) is not None:
            return self.answer(task, batch, batch)
        given = _given(batch)
        whole = _whole(batch)
        if is_mapping(whole):
            asked: Any = {key: value for key, value in whole.items() if key != EMBEDDED}
        else:
            asked = self._field(whole, self.tokens)
        rest = asked if is_mapping(whole) else whole
        if given is None:
            return self.answer(task, rest, asked)
        layer, tokens = self._layer(task), self._field(whole, self.tokens)
        for matches in (_is, _equals, _is_shaped_like):
            with _injected(layer, given, of=tokens, matches=matches) as waiting:
                answer = self.answer(task, rest, asked)
            if not waiting:
                return answer
        raise ValueError(f"the task's forward does not embed its tokens by {type(layer).__name__}")

    def targets(self, batch: Any) -> Tensor:
        """The labels as the scoring reads them."""
        whole = _whole(batch)
        return self.scoring.truth(self._field(whole, self.tokens), self._field(whole, self.labels))

    def size(self, batch: Any) -> int:
        """The number of examples."""
        return len(self._field(_whole(batch), self.labels))

    def texts(self, split: str) -> Sequence[str]:
        """The texts of a split as they were read, in the order of its unshuffled loader.

        Raises:
            Refused: If the data does not give its texts.
        """
        if self.texts_of is None:
            raise refuse("the data has no `texts_of`, so its texts cannot be read")
        return self.texts_of(split)

    def retold(self, batch: Any, texts: Sequence[str]) -> Any:
        """The same batch with other texts, one for each example; the labels stay.

        Raises:
            Refused: If the data does not tokenise, or the labels are the text itself.
        """
        if self.tokenise is None:
            raise refuse("the data has no `tokenise`, so a changed text cannot become a batch")
        whole = _whole(batch)
        tokens, labels = self._field(whole, self.tokens), self._field(whole, self.labels)
        if labels.shape == tokens.shape and torch.equal(
            labels[:, :-1], tokens[:, 1:].where(labels[:, :-1] >= 0, labels[:, :-1])
        ):
            raise refuse("the task foretells the text itself, so another text has other right answers")
        made = self.tokenise(texts)
        new = {self.tokens: made["input_ids"].to(tokens), self.mask: made["attention_mask"].to(tokens.device)}
        if is_mapping(whole):
            return {**{key: value for key, value in whole.items() if key != EMBEDDED}, **new}
        return tuple(new.get(at, value) for at, value in enumerate(whole))

    def present(self, batch: Any) -> Tensor | None:
        """The places of the mask that are not 0; all where the batch has none."""
        whole = _whole(batch)
        if not _holds(whole, self.mask):
            return None
        mask: Tensor = whole[self.mask]
        return mask != 0

    def features(self, inputs: Tensor) -> Tensor:
        """The place of the token: shape (L, width)."""
        length, width = inputs.shape[1:]
        return torch.arange(length, device=inputs.device)[:, None].expand(length, width)

    def called(self, batch: Any) -> Sequence[Sequence[str]]:
        """The tokens of each text as they are spelt; one that is not drawn goes by its number."""
        tokens: Tensor = _whole(batch)[self.tokens].cpu()
        return [
            [piece.strip() or f"[{number}]" for number, piece in zip(row, self._spelt(row), strict=True)]
            for row in ([*map(int, tokens_of)] for tokens_of in tokens)
        ]

    def draw(
        self, batch: Any, attributions: Tensor, *, titles: Sequence[str], decisions: Tensor | None = None
    ) -> bytes:
        """Every text with its tokens coloured; padding, and the tokens that begin and end a text, are left out."""
        del decisions
        whole = _whole(batch)
        tokens: Tensor = whole[self.tokens].cpu()
        present = self.present(batch)
        there = torch.ones_like(tokens) if present is None else present.cpu()
        pieces = [
            [piece if counts else "" for piece, counts in zip(self._spelt([*map(int, row)]), known, strict=True)]
            for row, known in zip(tokens, there, strict=True)
        ]
        return _text_drawing.words(pieces, attributions.detach().cpu().double().sum(dim=2), titles=titles)

    def _field(self, whole: Any, key: str | int) -> Tensor:
        if not _holds(whole, key):
            keys = [*map(str, whole)] if is_mapping(whole) else [*map(str, range(len(whole)))]
            raise refuse(
                f"a batch has {', '.join(keys)} and no {key!r}: which of it are the tokens and the labels is not said",
                fix=f"+task.adapter.tokens={keys[0]} +task.adapter.labels={keys[-1]}",
            )
        return whole[key]

    def _spelt(self, numbers: Sequence[int]) -> Sequence[str]:
        return [f" {number}" for number in numbers] if self.spell is None else self.spell(numbers)

    def _layer(self, task: LightningModule) -> nn.Module:
        if self.layer is not None:
            found = named_modules(task).get(self.layer)
            if found is None:
                raise refuse(f"task.adapter.layer={self.layer} is no layer of the task", fix="+task.adapter.layer=...")
            return found
        known = {name: layer for name, layer in named_modules(task).items() if isinstance(layer, nn.Embedding)}
        if len(known) != 1:
            raise refuse(
                f"which layer embeds the tokens? The task's embedding layers are: {', '.join(known) or 'none'}",
                fix=f"+task.adapter.layer={next(iter(known), '...')}",
            )
        return next(iter(known.values()))


def _whole(batch: Any) -> Any:
    """The batch that the data module made, or a mapping with more in it."""
    return batch.batch if isinstance(batch, Embedded) else batch


def _holds(whole: Any, key: str | int) -> bool:
    return key in (whole if is_mapping(whole) else range(len(whole)))


def _given(batch: Any) -> Tensor | None:
    if isinstance(batch, Embedded):
        return batch.inputs
    return batch.get(EMBEDDED) if is_mapping(batch) else None


def _embedding(task: LightningModule) -> Embedding | None:
    """The task or its model, whichever embeds tokens."""
    holders = (task, getattr(task, "model", None))
    return next((holder for holder in holders if isinstance(holder, Embedding)), None)


Matches = Callable[[Tensor, Tensor], int | None]
"""What a call embeds, and the batch's tokens -> the first row of it that is theirs, or None."""


def _is(asked: Tensor, tokens: Tensor) -> int | None:
    return 0 if asked.shape == tokens.shape and asked.data_ptr() == tokens.data_ptr() else None


def _equals(asked: Tensor, tokens: Tensor) -> int | None:
    """Several texts may be embedded in one call, one below the other."""
    if asked.shape[1:] != tokens.shape[1:] or len(tokens) == 0:
        return None
    starts = range(0, len(asked) - len(tokens) + 1, len(tokens))
    return next((start for start in starts if torch.equal(asked[start : start + len(tokens)], tokens)), None)


def _is_shaped_like(asked: Tensor, tokens: Tensor) -> int | None:
    return 0 if asked.shape == tokens.shape else None


@contextmanager
def _injected(layer: nn.Module, inputs: Tensor, *, of: Tensor, matches: Matches) -> Generator[list[Tensor]]:
    """The layer's output for these tokens, the first time that it embeds them, is these embeddings.

    What else it embeds, as an answer or the other text of a pair, is its own. Gives a list that is empty once it did.
    """
    waiting = [inputs]

    def give(module: nn.Module, given: tuple[Any, ...], output: Tensor) -> Tensor:
        del module
        start = matches(given[0], of) if waiting and given else None
        if start is None or output.shape[1:] != inputs.shape[1:]:
            return output
        ours = waiting.pop()
        if len(output) == len(ours):
            return ours
        return torch.cat([output[:start], ours, output[start + len(ours) :]])

    handle = layer.register_forward_hook(give)
    try:
        yield waiting
    finally:
        handle.remove()
