"""Numbers, counts and names as the page spells them."""

import math
from collections import Counter
from collections.abc import Iterable

from darkroom.tracking.store import RunRecord


def number(value: float | None) -> str:
    """Return what was measured; empty when it was not."""
    if value is None:
        return ""
    whole = math.isfinite(value) and value == int(value) and abs(value) < 1e6
    return f"{int(value):,}" if whole else f"{value:.4g}"


def amount(value: float | None) -> str:
    """Return a count as a person reads it: ``1.2 million``, ``480``."""
    if value is None:
        return ""
    for size, word in ((1e9, " billion"), (1e6, " million")):
        if abs(value) >= size:
            return f"{value / size:.3g}{word}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def between(least: float, most: float) -> str:
    """Return a range; one number where its ends are hardly apart."""
    close = most - least <= 1e-3 * max(abs(most), abs(least))
    return number(most) if close else f"{least:.3g} to {most:.3g}"


def images(step: int) -> str:
    """Return how far a training was."""
    return f"{step:,} images"


def counted(count: int, word: str) -> str:
    """Return so many of something: ``1 run``, ``2 runs``."""
    return f"{count} {word}" if count == 1 or word == "series" else f"{count} {word}s"


def states(records: Iterable[RunRecord]) -> str:
    """Return how many runs ended how: ``2 failed, 1 killed``."""
    counts = Counter(record.status.lower() for record in records)
    return ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))


def cut(text: str, most: int = 60) -> str:
    """Return a text that fits a cell of a table."""
    return text if len(text) <= most else f"{text[: most - 1]}…"
