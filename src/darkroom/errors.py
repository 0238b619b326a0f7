"""What is said to a person when their input cannot be used."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """One sentence: what was given, what was expected, what to type.

    Commands print it without a traceback and exit with code 2.
    """


class Failure(Exception):
    """The work itself came to nothing, in one sentence: what happened, and what may help.

    Commands print it without a traceback and exit with code 1.
    """


class Interrupted(BaseException):
    """A signal asked the process to end; its message is the signal's name.

    Like KeyboardInterrupt it passes through ``except Exception``, on its way to close the run as KILLED.
    """


def shown(sentence: str) -> str:
    r"""Return a sentence with what a terminal would act on, or not show at all, written out: ``seed=1\r``."""
    return "".join(character if character.isprintable() or character == " " else _escaped(character)
                   for character in sentence)  # fmt: skip


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``" (did you mean 'x'?)"`` for the nearest known word, or an empty string."""
    matches = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" (did you mean '{matches[0]}'?)" if matches else ""


def nearest(word: str, known: Iterable[str], count: int = 3) -> str:
    """Return the known words nearest to ``word``, quoted and comma-separated, for use in a sentence."""
    names = list(known)
    matches = difflib.get_close_matches(word, names, n=count, cutoff=0.0)
    return ", ".join(f"'{name}'" for name in (matches or names[:count]))
