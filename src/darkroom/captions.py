"""The one convention for captions: sentences are words, words are numbers from 1 on, and 0 fills up the line."""

import re
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor


def words_of(caption: str) -> list[str]:
    """Return the words of a caption in small letters; all that is no letter or digit stands between words."""
    return re.findall(r"[^\W_]+", caption.lower())


class Vocabulary:
    """The words that a model knows, as numbers: word i of the sorted list is i + 1.

    vocabulary = Vocabulary.of(["a red ring", "a blue ring"])
    vocabulary.tokens(["a ring"])            # tensor([[1, 4]])
    vocabulary.unknown("a green ring")       # ["green"]
    """

    def __init__(self, words: Sequence[str] = ()) -> None:
        self.words = list(words)
        self._numbers = {word: number for number, word in enumerate(self.words, start=1)}

    @classmethod
    def of(cls, captions: Iterable[str]) -> "Vocabulary":
        """Return the words of some captions, sorted."""
        return cls(sorted({word for caption in captions for word in words_of(caption)}))

    def __len__(self) -> int:
        return len(self.words)

    def unknown(self, caption: str) -> list[str]:
        """Return the words of a caption that are not known, each once."""
        return [word for word in dict.fromkeys(words_of(caption)) if word not in self._numbers]

    def tokens(self, captions: Sequence[str]) -> Tensor:
        """Return captions as numbers, int64 ``(n, L)``, as long as the longest; unknown words are left out."""
        lines = [[self._numbers[word] for word in words_of(caption) if word in self._numbers] for caption in captions]
        tokens = torch.zeros(len(lines), max(map(len, lines), default=0), dtype=torch.int64)
        for row, line in zip(tokens, lines, strict=True):
            row[: len(line)] = torch.tensor(line, dtype=torch.int64)
        return tokens
