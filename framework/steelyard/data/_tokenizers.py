# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportPrivateImportUsage=false
"""The only place that touches the library `tokenizers`."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from steelyard.extras import place_of, require
from steelyard.problem import refuse


def learn(texts: Iterable[str], *, pieces: bool, size: int, lowercase: bool, special: Sequence[str]) -> Any:
    """A `tokenizers.Tokenizer` whose special tokens pad, unknown, begin and end have the numbers 0 to 3."""
    require("tokenizers", extra="text")
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

    pad, unknown, begin, end = special
    known = [*texts]
    tokenizer: Any = Tokenizer(models.WordLevel(unk_token=unknown))
    forget = [normalizers.NFD(), normalizers.Lowercase(), normalizers.StripAccents()] if lowercase else []
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), *forget])
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer() if pieces else pre_tokenizers.Whitespace()
    tokenizer.decoder = decoders.WordPiece(cleanup=False)
    asked: Any = {"vocab_size": size, "min_frequency": 2, "show_progress": False}
    if pieces:
        # The library numbers the letters in the order of a hash table, unless they are there before it begins.
        letters = _letters(tokenizer, known)
        first = [*special, *letters, *(f"##{letter}" for letter in letters)]
        tokenizer.model = models.WordPiece(unk_token=unknown)
        tokenizer.train_from_iterator(known, trainer=trainers.WordPieceTrainer(special_tokens=first, **asked))
        found = Tokenizer(models.WordPiece(tokenizer.get_vocab(), unk_token=unknown))
        for part in ("normalizer", "pre_tokenizer", "decoder"):
            setattr(found, part, getattr(tokenizer, part))
        tokenizer = found
        tokenizer.add_special_tokens([*special])
    else:
        tokenizer.train_from_iterator(known, trainer=trainers.WordLevelTrainer(special_tokens=[*special], **asked))
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{begin} $A {end}", special_tokens=[(word, tokenizer.token_to_id(word)) for word in (begin, end)]
    )
    assert tokenizer.token_to_id(pad) == 0
    return tokenizer


def _letters(tokenizer: Any, texts: Iterable[str]) -> list[str]:
    """All letters of the words, in order."""
    found: set[str] = set()
    for text in texts:
        found.update(tokenizer.normalizer.normalize_str(text))
    return sorted(letter for letter in found if not letter.isspace())


def load(place: str) -> Any:
    """A tokenizer.json from a file, a folder, a package or the hub."""
    require("tokenizers", extra="text")
    from tokenizers import Tokenizer

    found = place_of(place, key="data.tokenizer")
    if found is None:
        try:
            return Tokenizer.from_pretrained(place)
        except Exception as error:
            raise refuse(
                f"data.tokenizer={place} is no folder here, and the hub does not give it: {_first_line(error)}",
                fix="data.tokenizer=FOLDER",
            ) from error
    path = found / "tokenizer.json" if found.is_dir() else found
    if not path.is_file():
        raise refuse(f"there is no tokenizer.json in data.tokenizer={place}", fix="data.tokenizer=FOLDER")
    return _read(path)


def _read(path: Path) -> Any:
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:
        raise refuse(f"{path} is no tokeniser: {_first_line(error)}", fix="data.tokenizer=FOLDER") from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
