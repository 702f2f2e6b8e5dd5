"""The base of the data modules whose examples are texts."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar, Literal, final, get_args

import torch
from pytorch_lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader

from steelyard.data.records import Records
from steelyard.data.splits import Splits, split
from steelyard.data.tokens import IGNORED, ByLength, Padding, TokenExamples
from steelyard.data.vocabulary import Tokens, Vocabulary
from steelyard.kinds import Kind
from steelyard.problem import check_least, refuse

TooLong = Literal["cut", "refuse"]


class Texts(LightningDataModule, ABC):
    """Splits, tokeniser, loaders, sizes and fingerprint of texts in memory.

    Batches are mappings: `input_ids` and `attention_mask` (B, L), padded to the longest text of the batch, and
    `labels`: the classes (B,), or the tokens of the answer (B, T) padded by -100, or for texts alone the token that
    follows each (B, L).

    Without `tokenizer` one is learned from the training split: it tells which words occur there, which a privacy
    guarantee on the training does not cover. The splits depend on `split_seed` alone; the order of training on the
    seed of the run.

    Args:
        batch_size: Examples in a batch, of every loader.
        num_workers: Processes that load; 0 loads in this one, which is fastest for data in memory.
        split_seed: Decides who belongs to which split, and nothing else.
        val_fraction: Part of the examples (without the source's own test set) for validation.
        test_fraction: Part of them for the test.
        limit: At most this many examples in each split, for a quick look.
        tokenizer: A tokenizer.json, a folder with one, `package://NAME/FOLDER` or a name of the hub; None learns one.
        tokens: What is learned: `words` or `pieces` of words.
        vocabulary: At most this many tokens are learned.
        lowercase: A learned tokeniser forgets capitals and accents.
        max_length: Most tokens of a text, special ones included.
        too_long: Longer texts are `cut`, or the run is refused.
        by_length: Training batches gather texts of about the same length, which saves padding.
    """

    modality: ClassVar[str] = "text"
    """Chooses the adapter."""
    bounds: ClassVar[tuple[float, float] | None] = None
    """Tokens have no smallest and largest value."""

    def __init__(
        self,
        *,
        batch_size: int = 32,
        num_workers: int = 0,
        split_seed: int = 0,
        val_fraction: float = 0.1,
        test_fraction: float = 0.1,
        limit: int | None = None,
        tokenizer: str | None = None,
        tokens: Tokens = "pieces",
        vocabulary: int = 8000,
        lowercase: bool = True,
        max_length: int = 64,
        too_long: TooLong = "cut",
        by_length: bool = True,
    ) -> None:
        super().__init__()
        check_least("data.batch_size", batch_size, 1, fix=64)
        check_least("data.max_length", max_length, 3, fix=64)
        if limit is not None:
            check_least("data.limit", limit, 1, fix=64)
        if too_long not in get_args(TooLong):
            raise refuse(f"data.too_long is {too_long!r}, must be cut or refuse", fix="data.too_long=cut")
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.split_seed = split_seed
        self.val_fraction = val_fraction
        self.test_fraction = test_fraction
        self.limit = limit
        self.tokenizer = tokenizer
        self.tokens: Tokens = tokens
        self.vocabulary_size = vocabulary
        self.lowercase = lowercase
        self.max_length = max_length
        self.too_long: TooLong = too_long
        self.by_length = by_length

    @abstractmethod
    def read(self) -> Records:
        """Reads or makes the texts; called once.

        Raises:
            Refused: If something is missing or damaged.
        """

    @final
    @cached_property
    def records(self) -> Records:
        """What `read` gave."""
        return self.read()

    @final
    @cached_property
    def splits(self) -> Splits:
        """Indices into the records."""
        own = self.records.tests
        count = len(self.records.texts) - own
        splits = split(count, seed=self.split_seed, val=self.val_fraction, test=0 if own else self.test_fraction)
        if own:
            splits = Splits(train=splits.train, val=splits.val, test=torch.arange(count, count + own))
        return Splits(train=splits.train[: self.limit], val=splits.val[: self.limit], test=splits.test[: self.limit])

    @final
    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The tokeniser: loaded, or learned from the training split."""
        if self.tokenizer is not None:
            return Vocabulary.loaded(self.tokenizer)
        sides = [side for side in (self.records.texts, self.records.answers) if side is not None]
        return Vocabulary.learned(
            (side[int(index)] for side in sides for index in self.splits.train),
            tokens=self.tokens,
            size=self.vocabulary_size,
            lowercase=self.lowercase,
        )

    @final
    @property
    def kind(self) -> Kind:
        """What the texts come with: classes, answers or nothing."""
        if self.records.labels is not None:
            return Kind.TEXT_TO_CLASS
        return Kind.TEXT if self.records.answers is None else Kind.TEXT_TO_TEXT

    @final
    @property
    def sizes(self) -> Mapping[str, Any]:
        """What a model must know of the data: fills `model.vocab_size=???` and the like."""
        words = self.vocabulary
        sizes: dict[str, Any] = {
            "vocab_size": len(words),
            "pad_token_id": words.pad,
            "bos_token_id": words.begin,
            "eos_token_id": words.end,
            "max_length": self.max_length,
        }
        if self.records.labels is not None:
            sizes["classes"] = max(len(self.records.names), 2)
        return sizes

    @final
    def decode(self, numbers: Sequence[int]) -> str:
        """Token numbers as text."""
        return self.vocabulary.decode(numbers)

    @final
    def spell(self, numbers: Sequence[int]) -> list[str]:
        """Token numbers as pieces of text, to be drawn."""
        return self.vocabulary.spell(numbers)

    @final
    def tokenise(self, texts: Sequence[str]) -> Mapping[str, Tensor]:
        """Any texts as `input_ids` and `attention_mask` (B, L); those too long are cut."""
        words = self.vocabulary
        # A text without any token would leave a model nothing to look at.
        tokens = [cut(sequence, self.max_length) or [words.end] for sequence in words.encode(texts)]
        made = Padding(pad=words.pad)([{"input_ids": torch.tensor(one), "labels": torch.tensor(0)} for one in tokens])
        return {key: made[key] for key in ("input_ids", "attention_mask")}

    @final
    @property
    def names(self) -> tuple[str, ...]:
        """What the classes are called."""
        return self.records.names

    @final
    def texts_of(self, split: str) -> list[str]:
        """The texts of a split as they were read, in the order of its unshuffled loader."""
        return [self.records.texts[int(index)] for index in getattr(self.splits, split)]

    @final
    def answers_of(self, split: str) -> list[str] | None:
        """The answers of a split as they were read, in the order of its unshuffled loader, where there are any."""
        answers = self.records.answers
        return None if answers is None else [answers[int(index)] for index in getattr(self.splits, split)]

    @final
    def fingerprint(self) -> str:
        """SHA-256 of the texts, labels and answers, in hexadecimal; it depends on neither splits nor tokeniser."""
        records = self.records
        digest = hashlib.sha256(f"{len(records.texts)} {records.tests} {records.names}\n".encode())
        for part in (records.texts, records.labels, records.answers):
            for item in part or ():
                content = str(item).encode()
                digest.update(f"{len(content)} ".encode() + content)
        return digest.hexdigest()

    @final
    def setup(self, stage: str) -> None:
        """Reads and tokenises, so that what is missing shows before the first epoch."""
        del stage
        assert len(self._encoded) == 2

    @final
    def train_dataloader(self) -> DataLoader[Any]:
        """In a fresh order in each epoch."""
        return self._loader(self.splits.train, shuffle=True)

    @final
    def val_dataloader(self) -> DataLoader[Any]:
        """In fixed order."""
        return self._loader(self.splits.val, shuffle=False)

    @final
    def test_dataloader(self) -> DataLoader[Any]:
        """In fixed order."""
        return self._loader(self.splits.test, shuffle=False)

    def _loader(self, chosen: Tensor, *, shuffle: bool) -> DataLoader[Any]:
        tokens, labels = self._encoded
        places = [int(place) for place in chosen]
        examples = TokenExamples([tokens[at] for at in places], [labels[at] for at in places])
        neighbours = ByLength(examples, batch_size=self.batch_size) if shuffle and self.by_length else None
        return DataLoader(
            examples,
            batch_size=self.batch_size,
            shuffle=shuffle and neighbours is None,
            sampler=neighbours,
            # Workers start anew with each epoch: those that stay would go on from where no checkpoint can put them.
            num_workers=self.num_workers,
            collate_fn=Padding(pad=self.vocabulary.pad),
        )

    @cached_property
    def _encoded(self) -> tuple[list[list[int]], Any]:
        """Tokens and labels of all records."""
        records = self.records
        tokens = self._fitted(self.vocabulary.encode(records.texts))
        if records.labels is not None:
            return tokens, records.labels
        if records.answers is None:
            return tokens, [[*sequence[1:], IGNORED] for sequence in tokens]
        # A model that writes is told where to begin, so the answer begins with its first word.
        answers = self._fitted(self.vocabulary.encode(records.answers))
        return tokens, [answer[1:] if answer[:1] == [self.vocabulary.begin] else answer for answer in answers]

    def _fitted(self, sequences: list[list[int]]) -> list[list[int]]:
        most = self.max_length
        for at, sequence in enumerate(sequences):
            if len(sequence) > most and self.too_long == "refuse":
                raise refuse(
                    f"row {self.records.row(at)} of {self.records.source} has {len(sequence)} tokens, "
                    f"data.max_length is {most}",
                    fix=f"data.max_length={max(map(len, sequences))}",
                )
        return [cut(sequence, most) for sequence in sequences]


def cut(tokens: list[int], most: int) -> list[int]:
    """At most so many tokens, of which the last one still says that the text ends."""
    return tokens if len(tokens) <= most else [*tokens[: most - 1], tokens[-1]]
