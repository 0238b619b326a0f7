"""PNG: its chunks, what they say, and the pixels.

Decoders are handed only the chunks that hold pixels, so that none of them applies a gamma, a key or a profile.
"""

import io
import struct
import zlib
from collections.abc import Iterator
from functools import cached_property

import numpy as np
from PIL import Image

from darkroom.picture_files import directories, limits, photoshop, xmp
from darkroom.picture_files.picture import Carried, Chunk, Levels, Raster, resolution, samples_of

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY, COLOURS, PALETTE, GREY_ALPHA, COLOURS_ALPHA = 0, 2, 3, 4, 6
_CHANNELS = {GREY: 1, COLOURS: 3, PALETTE: 1, GREY_ALPHA: 2, COLOURS_ALPHA: 4}
_DEPTHS = {GREY: (1, 2, 4, 8, 16), PALETTE: (1, 2, 4, 8)}
MEANING = (b"cICP", b"iCCP", b"sRGB", b"gAMA", b"cHRM", b"mDCV", b"mDCv", b"cLLI", b"cLLi")  # what colours mean
OF_LAYOUT = (b"sBIT", b"bKGD")  # which fit the channels and the depth that they were written for
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_XMP = b"XML:com.adobe.xmp"
_PROFILE = b"Raw profile type "
# Of pixels, of films, or said elsewhere. Of what is not known, chunks go on that say they may (a small fourth letter).
_PIXELS = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
_HANDLED = frozenset(
    {b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"pHYs", b"eXIf", b"acTL", b"fcTL", b"fdAT", b"hIST"}
)


def chunk(name: bytes, content: bytes) -> bytes:
    """Return a chunk with its length and its check."""
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


class Png:
    """A PNG whose chunks have been found."""

    kind = "png"

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._chunks = list(self._found())
        if not self._chunks or self._chunks[0][0] != b"IHDR" or len(self._content(b"IHDR")) != 13:
            raise ValueError("its header is damaged")
        width, height, self.depth, self.colours, *rest = struct.unpack(">2I5B", self._content(b"IHDR"))
        self.size = width, height
        if self.depth not in _DEPTHS.get(self.colours, (8, 16)) or self.colours not in _CHANNELS or rest[:2] != [0, 0]:
            raise ValueError(f"its header says colours of kind {self.colours} with {self.depth} bits")

    def _found(self) -> Iterator[tuple[bytes, int, int]]:
        """Yield every chunk that is whole: its name, where its content begins, and where it ends."""
        place = len(SIGNATURE)
        while place + 12 <= len(self._data):
            length, name = struct.unpack_from(">I4s", self._data, place)
            start, end = place + 8, place + 8 + length
            if end + 4 > len(self._data):
                return
            yield name, start, end
            if name == b"IEND":
                return
            place = end + 4

    def _check(self) -> None:
        """Refuse a file that is not whole; its header can be read all the same."""
        if self._chunks[-1][0] != b"IEND":
            raise ValueError("it is cut off")
        view = memoryview(self._data)
        for name, start, end in self._chunks:
            if zlib.crc32(view[start - 4 : end]) != struct.unpack_from(">I", self._data, end)[0]:
                raise ValueError(f"its {name.decode('latin-1')} is damaged")

    def _contents(self, *names: bytes) -> list[Chunk]:
        return [(name, self._data[start:end]) for name, start, end in self._chunks if name in names]

    def _content(self, name: bytes) -> bytes:
        return next((content for _, content in self._contents(name)), b"")

    @property
    def frames(self) -> int:
        """How many there are in an animated one."""
        played = self._content(b"acTL")
        return max(1, struct.unpack(">I", played[:4])[0]) if len(played) == 8 else 1

    @property
    def orientation(self) -> int:
        """How it is to be stood up."""
        return directories.orientation(self._exif) if self._exif else xmp.orientation_of(self._xmp)

    # --- pixels ------------------------------------------------------------------------------------------------------

    def raster(self, least: int | None = None) -> Raster:
        """Decode it."""
        self._check()
        packed = sum(end - start for name, start, end in self._chunks if name == b"IDAT")
        limits.check(self.size, packed, _CHANNELS[self.colours] * (2 if self.depth == 16 else 1))
        samples = self._deep() if self.depth == 16 else self._shallow(self._bare())
        key = self._content(b"tRNS")
        if self.colours == PALETTE:
            return self._coloured(samples[:, :, 0], key)
        count = 1 if self.colours in (GREY, GREY_ALPHA) else 3
        levels = samples[:, :, :count]
        alpha = samples[:, :, count] if samples.shape[2] > count else None
        if alpha is None and len(key) == 2 * count:
            alpha = self._keyed(levels, struct.unpack(f">{count}H", key))
        grey = "L" if count == 1 else "RGB"
        mode = f"{grey}{'A' if alpha is not None else ''}{';16' if self.depth == 16 else ''}"
        return Raster(levels, alpha, mode="1" if self.depth == 1 else mode)

    def _bare(self) -> bytes:
        view = memoryview(self._data)
        kept = [view[start - 8 : end + 4] for name, start, end in self._chunks if name in _PIXELS]
        return b"".join([SIGNATURE, *kept])

    def _shallow(self, bare: bytes) -> Levels:
        with Image.open(io.BytesIO(bare), formats=["PNG"]) as opened:
            opened.load()
            return samples_of(opened.convert("L") if opened.mode == "1" else opened)

    def _deep(self) -> Levels:
        """Return samples of 16 bits as OpenCV decodes them, if Pillow sees the same in their upper halves."""
        import cv2

        bare = self._bare()
        seen = self._shallow(bare)  # first, as it says what is wrong with a damaged file
        decoded = cv2.imdecode(np.frombuffer(bare, np.uint8), cv2.IMREAD_UNCHANGED)
        if decoded is None or decoded.dtype != np.uint16:
            raise ValueError("its 16 bits cannot be decoded")
        samples = decoded.reshape(*decoded.shape[:2], -1)
        if self.colours == GREY_ALPHA:  # of which both make colours
            samples, seen = samples[:, :, [0, 3]], seen[:, :, [0, 3]]
        elif self.colours != GREY:
            way = cv2.COLOR_BGR2RGB if samples.shape[2] == 3 else cv2.COLOR_BGRA2RGBA
            cv2.cvtColor(samples, way, dst=samples)
        if samples.shape != seen.shape or not all(map(_agree, samples, seen)):
            raise ValueError("two decoders disagree on what it shows")
        return samples

    def _keyed(self, levels: Levels, key: tuple[int, ...]) -> Levels:
        """Return transparency where the levels are those of the key, which counts in the depth of the file."""
        most = 2**self.depth - 1
        white = int(np.iinfo(levels.dtype).max)
        wanted = np.array([(level & most) * (white // most) for level in key], levels.dtype)
        return np.where((levels == wanted).all(axis=2), 0, white).astype(levels.dtype)

    def _coloured(self, numbers: Levels, key: bytes) -> Raster:
        given = self._content(b"PLTE")[:768]
        palette = np.zeros((256, 3), np.uint8)  # what the file does not name is black
        palette[: len(given) // 3] = np.frombuffer(given[: len(given) // 3 * 3], np.uint8).reshape(-1, 3)
        if not key:
            return Raster(palette[numbers], mode="P")
        shares = np.full(256, 255, np.uint8)
        shares[: len(key)] = np.frombuffer(key[:256], np.uint8)
        return Raster(palette[numbers], shares[numbers], mode="P")

    # --- what else it says -------------------------------------------------------------------------------------------

    @cached_property
    def _texts(self) -> list[tuple[Chunk, bytes, bytes]]:
        """Every text as its chunk, its keyword, and its bytes unpacked."""
        found = []
        for name, content in self._contents(*_TEXTS):
            keyword, _, rest = content.partition(b"\0")
            if name == b"zTXt":
                rest = photoshop.bounded(rest[1:])
            elif name == b"iTXt":
                packed, text = rest[:1] == b"\x01", rest[2:].split(b"\0", 2)[-1]
                rest = photoshop.bounded(text) if packed else text
            found.append(((name, content), keyword, rest))
        return found

    def _profile(self, *kinds: bytes) -> bytes:
        """Return what stands as digits in a text of one of these kinds."""
        for _, keyword, text in self._texts:
            if keyword in [_PROFILE + kind for kind in kinds]:
                try:
                    return photoshop.of_profile(text)
                except ValueError:  # it goes on as the text that it is
                    continue
        return b""

    @cached_property
    def _exif(self) -> bytes:
        return (self._content(b"eXIf") or self._profile(b"exif", b"APP1")).removeprefix(b"Exif\0\0")

    @cached_property
    def _xmp(self) -> bytes | None:
        found = next((text for _, keyword, text in self._texts if keyword == _XMP), b"")
        return found or self._profile(b"xmp") or None

    def carried(self, raster: Raster) -> Carried:
        """Return its words and what its colours mean, chunk by chunk."""
        profile = self._content(b"iCCP").partition(b"\0")[2][1:]
        apart = {_XMP, *(_PROFILE + kind for kind in (b"exif", b"APP1", b"xmp"))}
        phys = self._content(b"pHYs")
        across, down, unit = struct.unpack(">2IB", phys) if len(phys) == 9 else (0, 0, 0)
        iptc = self._profile(b"iptc", b"8bim")
        kept = [(name, content) for name, content in self._contents(*{name for name, _, _ in self._chunks})
                if name not in _HANDLED and name not in _TEXTS]  # fmt: skip
        safe = [each for each in kept if each[0] in MEANING or each[0] in OF_LAYOUT or each[0] == b"tIME"
                or each[0][3:].islower()]  # fmt: skip
        if lost := sorted({name.decode("latin-1") for name, _ in kept} - {name.decode("latin-1") for name, _ in safe}):
            raster.notes.append(f"its chunks {', '.join(lost)} hold for the picture as it was and are left out")
        return Carried(
            format=self.kind,
            exif=self._exif,
            icc=photoshop.bounded(profile) if profile else self._profile(b"icc", b"icm") or None,
            dpi=resolution(across * 0.0254, down * 0.0254) if unit == 1 else None,
            density=phys if across and down else None,
            xmp=self._xmp,
            resources=iptc if iptc[:4] == b"8BIM" else photoshop.of_tags(b"", iptc),
            texts=tuple(each for each, keyword, _ in self._texts if keyword not in apart),
            chunks=tuple(safe),
        )


def _agree(row: Levels, seen: Levels) -> bool:
    """Say whether levels of 16 bits are those seen, or have them as their upper halves."""
    return bool(((row if seen.dtype == np.uint16 else row >> 8) == seen).all())
