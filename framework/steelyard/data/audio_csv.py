"""Sounds of one's own with what is said in them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor

from steelyard.data.alphabet import Alphabet, filled
from steelyard.data.blank import Empty, check_empty
from steelyard.data.csv_file import Rows, read_csv
from steelyard.data.in_memory import Corpus, InMemory
from steelyard.data.sound_files import SoundFiles
from steelyard.kinds import Kind
from steelyard.problem import refuse


@final
class AudioCSV(InMemory):
    """A row per sound: the path of its file and what is said. Samples (T,) in [-1, 1], and letters.

    Targets are (L,) tokens of letters, ended by 0 and filled up with -100. All examples have one length, so that no
    answer depends on who stands beside an example in its batch.

    Args:
        path: The CSV file, whose first row names the columns.
        audio_column: The column of the files' paths, seen from the folder of the CSV file.
        text_column: The column of the texts.
        speaker_column: The column that says who speaks; the splits then share no speaker. None deals out rows.
        alphabet: Letters that texts are spelled with, capitals being made small.
        encoding: E.g. utf-8 or cp1252; None looks for a byte order mark, then tries UTF-8, then Windows-1252.
        delimiter: What stands between the columns.
        sample_rate: Samples a second.
        seconds: Length of every example; longer sounds are refused, since their text would not fit.
        resampling: Whether files of another rate are changed to it, or refused.
        silence: Whether files that hold nothing but silence are taken.
        empty: Rows without a text are refused, or with `drop` left out.
        batch_size: Examples in a batch.
        val_fraction: Part of the rows, or of the speakers, for validation.
        test_fraction: Part of them for the test.
        options: See `InMemory`.

    Raises:
        Refused: If an option is out of range; when it is set up, naming the rows and files that cannot be taken.
    """

    modality = "audio"
    kind = Kind.AUDIO_TO_TEXT
    bounds = (-1.0, 1.0)

    def __init__(
        self,
        *,
        path: str | Path | None = None,
        audio_column: str = "path",
        text_column: str = "text",
        speaker_column: str | None = None,
        alphabet: str = Alphabet.letters,
        encoding: str | None = None,
        delimiter: str = ",",
        sample_rate: int = 16000,
        seconds: float = 10.0,
        resampling: bool = True,
        silence: bool = False,
        empty: Empty = "refuse",
        batch_size: int = 16,
        val_fraction: float = 0.1,
        test_fraction: float = 0.1,
        **options: Any,
    ) -> None:
        super().__init__(
            batch_size=batch_size,
            val_fraction=val_fraction,
            test_fraction=test_fraction,
            **options,
        )
        if path is None:
            raise refuse("data.path is not set: it names the CSV file", fix="data.path=FILE.csv")
        self.path = Path(path).expanduser()
        self.audio_column = audio_column
        self.text_column = text_column
        self.speaker_column = speaker_column
        self.alphabet = Alphabet(alphabet)
        self.encoding = encoding
        self.delimiter = delimiter
        self.sample_rate = sample_rate
        self.empty: Empty = check_empty(empty)
        self.files = SoundFiles(
            sample_rate=sample_rate, seconds=seconds, too_long="refuse", resampling=resampling, silence=silence
        )

    def read(self) -> Corpus:
        """All rows with a text."""
        columns = {"data.audio_column": self.audio_column, "data.text_column": self.text_column}
        if self.speaker_column is not None:
            columns["data.speaker_column"] = self.speaker_column
        rows = read_csv(self.path, columns=columns, encoding=self.encoding, delimiter=self.delimiter)
        rows = rows.written(self.text_column, empty=self.empty)
        texts = [
            self.alphabet.encode(text, where=rows.where(at)) for at, text in enumerate(rows.column(self.text_column))
        ]
        paths = [self.path.parent / Path(path).expanduser() for path in rows.column(self.audio_column)]
        for at, path in enumerate(paths):
            if not path.is_file():
                raise refuse(f"{rows.where(at)}: there is no file {path}", fix=f"data.audio_column={self.audio_column}")
        return Corpus(
            inputs=self.files.read(paths),
            targets=filled(texts),
            classes=self.alphabet.tokens,
            groups=self._speakers(rows),
        )

    def moments(self) -> Mapping[str, Any]:
        """Samples in [-1, 1] stay as they are; models learn of the rate and of the longest text, too."""
        return {"mean": 0.0, "std": 1.0, "sample_rate": self.sample_rate, "longest": self.corpus.targets.shape[1]}

    def decode(self, tokens: Sequence[int]) -> str:
        """Tokens as text."""
        return self.alphabet.decode(tokens)

    def _speakers(self, rows: Rows) -> Tensor | None:
        if self.speaker_column is None:
            return None
        names = rows.column(self.speaker_column)
        numbers = {name: number for number, name in enumerate(sorted(set(names)))}
        return torch.tensor([numbers[name] for name in names])
