"""What is said to a person when their input cannot be used."""

import difflib
import unicodedata
from collections.abc import Iterable
from typing import TypeVar


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


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``" (did you mean 'x'?)"`` for the nearest known word, or an empty string."""
    matches = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" (did you mean '{matches[0]}'?)" if matches else ""


def nearest(word: str, known: Iterable[str], count: int = 3) -> str:
    """Return the known words nearest to ``word``, quoted and comma-separated, for use in a sentence."""
    names = list(known)
    matches = difflib.get_close_matches(word, names, n=count, cutoff=0.0)
    return ", ".join(f"'{name}'" for name in (matches or names[:count]))


_DIRECTION = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")  # reorders what is shown


def printable(text: object) -> str:
    r"""Return a name or a sentence on one line, whatever it holds.

    Control characters, and bytes of a name that are not UTF-8, come as escapes: ``a\n.png``, ``\xff.png``.
    """
    text = str(text)
    return text if text.isascii() and text.isprintable() else "".join(map(_escaped, text))


def _escaped(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # how Python holds a byte that is not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    if unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") or character in _DIRECTION:
        return character.encode("unicode_escape", "surrogatepass").decode()
    return character


def reason(error: BaseException) -> str:
    """Return in a few words, on one line, what an exception of any kind says; its kind where it says nothing."""
    if isinstance(error, OSError) and error.strerror:
        return printable(error.strerror)
    if isinstance(error, MemoryError):
        return "there is not enough memory"
    try:
        words = printable(" ".join(str(error).split())).rstrip(".")
    except Exception:  # an error that cannot say what it is has a kind all the same
        words = ""
    known = isinstance(error, OSError | ValueError)  # which are said for people, more often than not
    return words if words and known else f"{type(error).__name__}{': ' if words else ''}{words}"


_NO_MEMORY = ("not enough memory", "can't allocate memory", "out of memory", "DefaultCPUAllocator")


def out_of_memory(error: BaseException) -> bool:
    """Say whether an error is that there was not enough memory, of whatever device."""
    known = isinstance(error, RuntimeError) and any(words in str(error) for words in _NO_MEMORY)  # as torch says it
    return known or isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"  # torch's own


_Error = TypeVar("_Error", bound=BaseException)


def cause(error: BaseException | None, kind: type[_Error]) -> _Error | None:
    """Return the first error of a kind in a chain of causes."""
    while error is not None:
        if isinstance(error, kind):
            return error
        error = error.__cause__ or error.__context__
    return None
