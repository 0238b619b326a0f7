"""The directories of a TIFF, in which EXIF is kept too: tags, each with numbers or text of some type.

A block is what EXIF is in every format: a small TIFF without a picture, whose first bytes say its byte order.
"""

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from PIL import ExifTags, TiffTags

Order = Literal["<", ">"]

SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_UNITS = {3: 2, 4: 4, 5: 4, 8: 2, 9: 4, 10: 4, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}  # bytes that swap as one
_WHOLE = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 13: "I", 16: "Q", 17: "q", 18: "Q"}
_OF_BIG = frozenset({16, 17, 18})  # types that a TIFF of 32-bit offsets does not have
BYTE, ASCII, SHORT, LONG, RATIONAL, UNDEFINED, IFD = 1, 2, 3, 4, 5, 7, 13
ORIENTATION, EXIF, GPS, INTEROP = 0x0112, 0x8769, 0x8825, 0xA005
_SUBDIRECTORIES = {0: (EXIF, GPS), EXIF: (INTEROP,)}
_SIDES = (0xA002, 0xA003)  # width and height, in the directory of EXIF
_THUMBNAIL, _THUMBNAIL_BYTES = 0x0201, 0x0202


@dataclass(frozen=True)
class Entry:
    """One entry: ``content`` in the byte order of its block, or the entries ``inside`` where it is a directory."""

    tag: int
    type: int
    count: int
    content: bytes
    inside: tuple["Entry", ...] | None = None

    @property
    def name(self) -> str:
        """What the trade calls it."""
        known = ExifTags.TAGS.get(self.tag) or TiffTags.lookup(self.tag).name
        return f"{known} ({self.tag})" if known and known != "unknown" else f"tag {self.tag}"

    def whole(self, order: Order) -> tuple[int, ...]:
        """Return its whole numbers.

        Raises:
            ValueError: it holds none.
        """
        if self.type not in _WHOLE:
            raise ValueError(f"its {self.name} holds no whole numbers")
        return struct.unpack(f"{order}{self.count}{_WHOLE[self.type]}", self.content)

    def rational(self, order: Order) -> float:
        """Return the first of its fractions; 0 where there is none."""
        if self.type != RATIONAL or not self.count:
            return 0.0
        above, below = struct.unpack(f"{order}2I", self.content[:8])
        return float(above / below) if below else 0.0


@dataclass(frozen=True)
class Directory:
    """The entries of one directory, where the next begins (0: nowhere), and the names of those that cannot be read."""

    entries: tuple[Entry, ...]
    following: int
    broken: tuple[str, ...] = ()

    def get(self, tag: int) -> Entry | None:
        """Return the entry of a tag."""
        return next((entry for entry in self.entries if entry.tag == tag), None)


@dataclass(frozen=True)
class Head:
    """How a block counts: its byte order, whether its offsets have 64 bits, and where its first directory is."""

    order: Order
    big: bool
    first: int


@dataclass(frozen=True)
class _Slot:
    """Where an entry stands in a block: its own place, and that of its content."""

    place: int
    tag: int
    type: int
    count: int
    content: int

    @property
    def length(self) -> int:
        return SIZES.get(self.type, 0) * self.count


def head(block: bytes) -> Head:
    """Return how a block counts.

    Raises:
        ValueError: it is none.
    """
    order: Order | None = {b"II": "<", b"MM": ">"}.get(block[:2])  # type: ignore[assignment]
    version = struct.unpack(f"{order}H", block[2:4])[0] if order and len(block) >= 8 else 0
    if order and version == 42:
        return Head(order, False, struct.unpack(f"{order}I", block[4:8])[0])
    if order and version == 43 and len(block) >= 16:
        return Head(order, True, struct.unpack(f"{order}Q", block[8:16])[0])
    raise ValueError("it does not start as a TIFF does")


def _slots(block: bytes | bytearray, offset: int, how: Head) -> tuple[list[_Slot], int]:
    """Return where the entries of a directory stand, and where the offset of the next directory stands."""
    counted, each, word = (8, 20, 8) if how.big else (2, 12, 4)
    letter = "Q" if how.big else "I"
    if not 0 < offset <= len(block) - counted:
        raise ValueError("a directory of it lies behind its end")
    (count,) = struct.unpack_from(f"{how.order}{'Q' if how.big else 'H'}", block, offset)
    start = offset + counted
    if start + count * each + word > len(block) and start + count * each > len(block):
        raise ValueError("a directory of it is cut off")
    slots = []
    for place in range(start, start + count * each, each):
        tag, kind, number = struct.unpack_from(f"{how.order}2H{letter}", block, place)
        inline = place + each - word
        content = inline
        if SIZES.get(kind, 0) * number > word:
            (content,) = struct.unpack_from(f"{how.order}{letter}", block, inline)
        slots.append(_Slot(place, tag, kind, number, content))
    return slots, start + count * each


def directory(block: bytes, offset: int, how: Head, within: int = 0) -> Directory:
    """Return a directory with those below it.

    Raises:
        ValueError: it is cut off.
    """
    slots, end = _slots(block, offset, how)
    entries, broken = [], []
    for slot in slots:
        content = block[slot.content : slot.content + slot.length]
        entry = Entry(slot.tag, slot.type, slot.count, content)
        if slot.type not in SIZES or len(content) != slot.length:
            broken.append(entry.name)
        elif slot.tag in _SUBDIRECTORIES.get(within, ()):
            try:
                below = directory(block, entry.whole(how.order)[0], how, slot.tag)
            except (ValueError, IndexError):
                broken.append(entry.name)
            else:
                broken += below.broken
                entries.append(replace(entry, inside=below.entries))
        else:
            entries.append(entry)
    word = 8 if how.big else 4
    following = int.from_bytes(block[end : end + word], "little" if how.order == "<" else "big")
    return Directory(tuple(entries), following, tuple(broken))


def parsed(block: bytes) -> tuple[Directory, Order]:
    """Return the first directory of a block, and the order of its bytes.

    Raises:
        ValueError: it is no block, or cut off.
    """
    how = head(block)
    return directory(block, how.first, how), how.order


def in_order(entries: Iterable[Entry], have: Order, wanted: Order) -> tuple[Entry, ...]:
    """Return entries with their bytes in another order."""
    if have == wanted:
        return tuple(entries)
    return tuple(
        replace(entry, content=_swapped(entry), inside=entry.inside and in_order(entry.inside, have, wanted))
        for entry in entries
    )


def _swapped(entry: Entry) -> bytes:
    unit = _UNITS.get(entry.type, 1)
    return b"".join(entry.content[at : at + unit][::-1] for at in range(0, len(entry.content), unit))


def writable(entries: Iterable[Entry]) -> tuple[tuple[Entry, ...], tuple[str, ...]]:
    """Return the entries that a TIFF of 32-bit offsets can hold, and the names of the others."""
    kept: list[Entry] = []
    dropped: list[str] = []
    for entry in entries:
        if entry.inside is not None:
            inside, lost = writable(entry.inside)
            kept.append(replace(entry, inside=inside))
            dropped += lost
        elif entry.type in _OF_BIG:
            dropped.append(entry.name)
        else:
            kept.append(entry)
    return tuple(kept), tuple(dropped)


def laid_out(entries: Iterable[Entry], order: Order, start: int) -> bytes:
    """Return a directory that begins at ``start``, all that it refers to behind it."""
    ordered = sorted(entries, key=lambda entry: entry.tag)
    room = start + 2 + 12 * len(ordered) + 4
    table, behind = [struct.pack(f"{order}H", len(ordered))], b""
    for entry in ordered:
        if entry.inside is not None:
            place = room + len(behind)
            behind += laid_out(entry.inside, order, place)
            kind, count, word = LONG, 1, struct.pack(f"{order}I", place)
        else:
            kind, count, word = entry.type, entry.count, entry.content.ljust(4, b"\0")
            if len(word) > 4:
                word = struct.pack(f"{order}I", room + len(behind))
                behind += entry.content
        behind += b"\0" * (len(behind) % 2)
        table.append(struct.pack(f"{order}2HI", entry.tag, kind, count) + word)
    return b"".join(table) + bytes(4) + behind


def block_of(entries: Sequence[Entry], order: Order) -> bytes:
    """Return entries as a block; empty when there are none."""
    if not entries:
        return b""
    return (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, 8) + laid_out(entries, order, 8)


def entry(tag: int, kind: int, values: Sequence[int] | bytes, order: Order = "<") -> Entry:
    """Return an entry of whole numbers, of fractions with numerators and denominators in turn, or of bytes."""
    if isinstance(values, bytes):
        return Entry(tag, kind, len(values), values)
    letter = "I" if kind == RATIONAL else _WHOLE[kind]
    content = struct.pack(f"{order}{len(values)}{letter}", *values)
    return Entry(tag, kind, len(content) // SIZES[kind], content)


# --- EXIF as it is, in its place -------------------------------------------------------------------------------------


def orientation(block: bytes) -> int:
    """Return how a picture is to be stood up; 1, as it is, where the block does not say."""
    try:
        how = head(block)
        for slot in _slots(block, how.first, how)[0]:
            if slot.tag == ORIENTATION and slot.type in (SHORT, LONG) and slot.count:
                (found,) = struct.unpack_from(f"{how.order}{_WHOLE[slot.type]}", block, slot.content)
                return int(found) if 1 <= found <= 8 else 1
    except (ValueError, struct.error):
        return 1
    return 1


def stood_up(block: bytes) -> bytes:
    """Return a block that says that its picture is upright, without the small copy of it; else to the byte.

    Raises:
        ValueError: it is no block.
    """
    how, changed = head(block), bytearray(block)
    slots, end = _slots(block, how.first, how)
    for slot in slots:
        if slot.tag == ORIENTATION and slot.type in (SHORT, LONG) and slot.count:
            struct.pack_into(
                f"{how.order}I{_WHOLE[slot.type]}", changed, slot.place + 4, 1, 1
            )  # one number, which is 1
    following = block[end : end + 4]
    if any(following):
        changed[end : end + len(following)] = bytes(len(following))
        place = int.from_bytes(following, "little" if how.order == "<" else "big")
        cleared = bytes(_without_thumbnail(bytearray(changed), place, how))
        if _entries(bytes(changed)) and _entries(cleared) == _entries(
            bytes(changed)
        ):  # what it refers to is of the copy alone
            return cleared
    return bytes(changed)


def _entries(block: bytes) -> tuple[Entry, ...]:
    """Return the entries of a block; none where it is broken."""
    try:
        return parsed(block)[0].entries
    except ValueError:
        return ()


def _without_thumbnail(block: bytearray, offset: int, how: Head) -> bytearray:
    """Return a block whose second directory shows nothing any more: it showed the picture before it was edited."""
    try:
        slots, _ = _slots(block, offset, how)
        found = {slot.tag: struct.unpack_from(f"{how.order}I", block, slot.content)[0] for slot in slots
                 if slot.tag in (_THUMBNAIL, _THUMBNAIL_BYTES) and slot.type == LONG}  # fmt: skip
    except (ValueError, struct.error):
        return block
    if len(found) < 2:
        return block
    first, last = found[_THUMBNAIL], min(len(block), found[_THUMBNAIL] + found[_THUMBNAIL_BYTES])
    if last == len(block):
        return block[:first]
    block[first:last] = bytes(max(0, last - first))
    return block


def of_size(block: bytes, size: tuple[int, int]) -> bytes:
    """Return a block in which width and height, where it says them, are these."""
    how, changed = head(block), bytearray(block)
    for place, kind in _sides(block, how, size):
        index = 0 if kind[0] == _SIDES[0] else 1
        letter = "I" if kind[1] == LONG or size[index] > 65_535 else "H"
        if letter == "I":
            struct.pack_into(f"{how.order}H", changed, place + 2, LONG)
        struct.pack_into(f"{how.order}{letter}", changed, place + 8, size[index])
    return bytes(changed)


def _sides(block: bytes, how: Head, size: tuple[int, int]) -> Iterator[tuple[int, tuple[int, int]]]:
    """Yield where width and height stand in the directory of EXIF, with their tags and types."""
    try:
        for slot in _slots(block, how.first, how)[0]:
            if slot.tag == EXIF and slot.type in (LONG, IFD):
                (below,) = struct.unpack_from(f"{how.order}I", block, slot.content)
                for inner in _slots(block, below, how)[0]:
                    if inner.tag in _SIDES and inner.type in (SHORT, LONG) and inner.count == 1:
                        yield inner.place, (inner.tag, inner.type)
    except (ValueError, struct.error):  # what is broken there stays as it is
        return
