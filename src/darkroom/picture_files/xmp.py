"""XMP, a description in XML, as far as it says how a picture lies."""

import re

_SAID = re.compile(rb"""tiff:Orientation(?:\s*=\s*["']|>)([1-8])""")


def orientation_of(xmp: bytes | None) -> int:
    """Return how a picture is to be stood up; 1, as it is, where the description does not say."""
    found = _SAID.search(xmp) if xmp else None
    return int(found.group(1)) if found else 1


def stood_up(xmp: bytes | None) -> bytes | None:
    """Return a description that says that its picture is upright; else to the byte."""
    if not xmp:
        return None
    return _SAID.sub(lambda found: found.group(0)[:-1] + b"1", xmp)
