"""Text to token numbers and back; thin round the library `tokenizers`."""

from collections.abc import Iterable, Sequence
from typing import Any, Literal, final, get_args

from steelyard.data import _tokenizers
from steelyard.problem import refuse

Tokens = Literal["words", "pieces"]

PAD, UNKNOWN, BEGIN, END = "[PAD]", "[UNK]", "[CLS]", "[SEP]"
SPECIAL = (PAD, UNKNOWN, BEGIN, END)
"""Numbers 0 to 3 of a vocabulary that was made here."""

SPELLINGS = {
    "pad": (PAD, "<pad>", "<|padding|>", "<|endoftext|>"),
    "begin": (BEGIN, "<s>", "<bos>", "<|begin_of_text|>", "<|endoftext|>", "<pad>"),
    "end": (END, "</s>", "<eos>", "<|end_of_text|>", "<|endoftext|>"),
}
"""How tokenisers of the wild call what every model needs."""

SPACES = ("\N{LATIN CAPITAL LETTER G WITH DOT ABOVE}", "\N{LOWER ONE EIGHTH BLOCK}")
"""How tokenisers on bytes, and those of SentencePiece, write the space before a word."""
INSIDE = "##"
"""How WordPiece marks a token that goes on inside a word."""


@final
class Vocabulary:
    """A tokeniser that knows its special tokens. Equal texts give equal numbers, on every machine.

    Args:
        tokenizer: A `tokenizers.Tokenizer`.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        tokenizer.no_padding()
        tokenizer.no_truncation()
        # Some tokenisers mark what begins a word, the others what goes on inside one.
        self._marks_words = any(tokenizer.token_to_id(space) is not None for space in SPACES)
        self.pad = self._special("pad")
        self.begin = self._special("begin")
        self.end = self._special("end")

    @classmethod
    def learned(cls, texts: Iterable[str], *, tokens: Tokens, size: int, lowercase: bool) -> "Vocabulary":
        """Learned from texts, which should be those of the training split.

        Args:
            texts: What is learned from.
            tokens: Whole `words`, or frequent `pieces` of words (WordPiece; Schuster and Nakajima 2012).
            size: At most this many tokens.
            lowercase: Forgets capitals and accents.

        Raises:
            Refused: If there is no such kind of tokens.
        """
        if tokens not in get_args(Tokens):
            raise refuse(
                f"data.tokens is {tokens!r}, must be one of {', '.join(get_args(Tokens))}", fix="data.tokens=words"
            )
        if size < 2 * len(SPECIAL):
            raise refuse(f"data.vocabulary is {size}: too few tokens for any text", fix="data.vocabulary=8000")
        return cls(_tokenizers.learn(texts, pieces=tokens == "pieces", size=size, lowercase=lowercase, special=SPECIAL))

    @classmethod
    def loaded(cls, place: str) -> "Vocabulary":
        """Read from a tokenizer.json: a file, a folder with one, `package://NAME/FOLDER`, or a name of the hub.

        Raises:
            Refused: If there is none.
        """
        return cls(_tokenizers.load(place))

    def __len__(self) -> int:
        return int(self._tokenizer.get_vocab_size())

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """The numbers of each text, with the special tokens that the tokeniser puts round it."""
        return [found.ids for found in self._tokenizer.encode_batch([*texts])]

    def decode(self, numbers: Sequence[int]) -> str:
        """The text, without special tokens."""
        return str(self._tokenizer.decode([number for number in numbers if number >= 0], skip_special_tokens=True))

    def spell(self, numbers: Sequence[int]) -> list[str]:
        """Each token as a piece of text, e.g. to draw it: a space before each word, "" for what only frames a text."""
        return [self._piece(number) for number in numbers]

    def content(self) -> str:
        """The whole tokeniser as JSON: equal for equal tokenisers."""
        return str(self._tokenizer.to_str())

    def _piece(self, number: int) -> str:
        token = self._tokenizer.id_to_token(number)
        if token is None or number in (self.pad, self.begin, self.end):
            return ""
        if self._marks_words:
            return (" " if token[0] in SPACES else "") + self._tokenizer.decode([number]).strip()
        return token[len(INSIDE) :] if token.startswith(INSIDE) and token != INSIDE else f" {token}"

    def _special(self, role: str) -> int:
        for spelling in SPELLINGS[role]:
            number = self._tokenizer.token_to_id(spelling)
            if number is not None:
                return int(number)
        raise refuse(
            f"the tokeniser has no {role} token (looked for {', '.join(SPELLINGS[role])})", fix="data.tokenizer=null"
        )
