"""Environment variables that hold numbers."""

import math
import os

from darkroom.errors import UserError


def number(name: str, otherwise: float = 0.0) -> float:
    """Return the number in an environment variable, 0 or more, or what counts when it is not set.

    Raises:
        UserError: it holds something else.
    """
    text = os.environ.get(name) or str(otherwise)
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not 0 <= found < math.inf:
        raise UserError(f"The environment variable {name} is '{text[:40]}', but a number was expected: unset it.")
    return found


def count(name: str, otherwise: int = 1) -> int:
    """Return the whole number in an environment variable, 1 or more, or what counts when it is not set.

    Raises:
        UserError: it holds something else.
    """
    found = number(name, otherwise)
    if found < 1 or found != int(found):
        raise UserError(f"The environment variable {name} is '{os.environ[name][:40]}', but a count was expected.")
    return int(found)
