"""TIFF read: every tag that says what a sample means is looked at here.

PhotometricInterpretation, PlanarConfiguration, BitsPerSample, SampleFormat, ExtraSamples, Orientation, FillOrder,
Predictor; strips and tiles; both byte orders; 32-bit and 64-bit offsets.
"""

import copy
import io
from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image

from darkroom.picture_files import directories, limits, strips
from darkroom.picture_files.directories import Directory, Entry
from darkroom.picture_files.inks import from_inks, of_palette
from darkroom.picture_files.photoshop import of_tags
from darkroom.picture_files.picture import Carried, Levels, Raster, Unfit, resolution, samples_of, scaled, whole_colours
from darkroom.picture_files.strips import Layout, Samples
from darkroom.picture_files.xmp import orientation_of

XMP, IPTC, RESOURCES, ICC, LAYERS, SUBDIRECTORIES = 700, 33723, 34377, 34675, 37724, 330
# How a TIFF stores its pixels, which says nothing of the picture; it stands among what does.
STRUCTURE = frozenset({254, 255, 256, 257, 258, 259, 262, 263, 264, 265, 266, 273, 277, 278, 279, 280, 281, 284}).union(
    {*range(288, 294), 297, 301, *range(317, 333), *range(333, 348), *range(512, 533)}
)
RESOLUTION = frozenset({282, 283, 296})
_CARRIED_APART = frozenset({XMP, IPTC, RESOURCES, ICC, LAYERS})

_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _INKS, _YCBCR = 0, 1, 2, 3, 5, 6
_COLOURS = {_WHITE_IS_ZERO: 1, _BLACK_IS_ZERO: 1, _RGB: 3, _PALETTE: 1, _INKS: 4}
_MEANINGS = {4: "a mask", 8: "LAB", 9: "LAB", 10: "LAB", 32803: "what a sensor saw", 34892: "what a sensor saw",
             32844: "light without a white (LogLuv)", 32845: "light without a white (LogLuv)"}  # fmt: skip
_BY_PILLOW = {7: "JPEG", 50001: "WebP"}  # compressions that say themselves what their samples are
_UNSPECIFIED, _ASSOCIATED, _UNASSOCIATED = 0, 1, 2
_DESCRIPTION, _SHAPE = 270, b'{"shape":'  # in which tifffile says how the samples lay
_REDUCED = 1 | 4  # bits of NewSubfileType: a smaller copy, a mask
_MOST_PAGES = 10_000
_MOST_SAMPLES = 64


class Tiff:
    """A TIFF whose directories have been read."""

    kind = "tiff"

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._how = directories.head(data)
        self._pages = list(self._directories())
        self._whole = [page for page in self._pages if not self._number(page, 254, 0) & _REDUCED] or self._pages[:1]
        if not self._whole:
            raise ValueError("it has no pages")
        self._page = self._whole[0]

    def page(self, number: int) -> "Tiff":
        """Return the same file, of which another page is read."""
        other = copy.copy(self)
        other._page = self._whole[number]
        return other

    @property
    def size(self) -> tuple[int, int]:
        """Width and height as they lie in the file."""
        return self._number(self._page, 256), self._number(self._page, 257)

    def _directories(self) -> Iterator[Directory]:
        seen: set[int] = set()
        offset = self._how.first
        while offset and offset not in seen and len(seen) < _MOST_PAGES:
            seen.add(offset)
            page = directories.directory(self._data, offset, self._how)
            yield page
            offset = page.following

    def _number(self, page: Directory, tag: int, otherwise: int | None = None) -> int:
        return self._numbers(page, tag, None if otherwise is None else (otherwise,))[0]

    def _numbers(self, page: Directory, tag: int, otherwise: Sequence[int] | None = None) -> Sequence[int]:
        entry = page.get(tag)
        if entry is None or not entry.count:
            if otherwise is None:
                raise ValueError(f"it has no {Entry(tag, 1, 0, b'').name}")
            return otherwise
        return entry.whole(self._how.order)

    def _of_page(self, tag: int, otherwise: int) -> int:
        return self._number(self._page, tag, otherwise)

    @property
    def frames(self) -> int:
        """How many pages there are, smaller copies and masks of others not counted."""
        return len(self._whole)

    @property
    def orientation(self) -> int:
        """How it is to be stood up."""
        if self._page.get(directories.ORIENTATION) is not None:
            found = self._of_page(directories.ORIENTATION, 1)
            return found if 1 <= found <= 8 else 1
        return orientation_of(self._content(XMP) or None)

    def _content(self, tag: int) -> bytes:
        entry = self._page.get(tag)
        return entry.content if entry is not None else b""

    # --- pixels ------------------------------------------------------------------------------------------------------

    def raster(self, least: int | None = None) -> Raster:
        """Decode the first whole page."""
        meaning, compression = self._of_page(262, -1), self._of_page(259, 1)
        if meaning == -1:
            raise ValueError("it does not say what its samples mean (PhotometricInterpretation)")
        if compression in _BY_PILLOW:
            return self._by_pillow(_BY_PILLOW[compression], meaning)
        if meaning not in _COLOURS:
            what = "YCbCr without JPEG" if meaning == _YCBCR else _MEANINGS.get(meaning, f"colours of kind {meaning}")
            raise Unfit(f"holds {what}, which is read nowhere here: convert it first, to a PNG or TIFF of RGB say")
        if compression not in strips.KNOWN:
            raise Unfit(f"is compressed in a way (number {compression}) that is not known here: save it with deflate")
        samples, most = self._levels(meaning, compression)
        return self._meant(samples, most, meaning)

    def _depth(self) -> tuple[int, bool]:
        """Return how many bits a sample has, and whether they are a floating-point number.

        Raises:
            Unfit: it is of a kind that no picture here can hold.
        """
        depths = set(self._numbers(self._page, 258, (1,)))
        formats = set(self._numbers(self._page, 339, (1,)))
        bits = max(depths)
        if len(depths) > 1 or len(formats) > 1:
            raise Unfit(f"has samples of unequal depth ({', '.join(map(str, sorted(depths)))} bits): convert it first")
        number = formats.pop()
        if number == 2 and bits < 32:
            raise Unfit(f"holds signed numbers of {bits} bits, which have no black and no white: convert it first")
        if number in (5, 6):
            raise Unfit(f"holds complex numbers of {bits} bits, which are no picture: convert it first")
        if number == 3 and bits not in (16, 32, 64):
            raise Unfit(f"holds floating-point numbers of {bits} bits: convert it first")
        if number != 3 and not (1 <= bits <= 16 or bits == 32):
            raise Unfit(f"holds numbers of {bits} bits, which is no picture of 8 or 16 bits: convert it first")
        return bits, number == 3

    def _levels(self, meaning: int, compression: int) -> tuple[Samples, int]:
        """Return all samples ``(H, W, S)``, and the largest number that one can be."""
        bits, floating = self._depth()
        count, planar = self._of_page(277, 1), self._of_page(284, 1) == 2
        if count < _COLOURS[meaning]:
            raise ValueError(f"it has {count} samples a pixel, too few for its colours")
        if count > _MOST_SAMPLES:
            raise Unfit(f"has {count} samples a pixel, and {_MOST_SAMPLES} at most are read: take them apart")
        tiled = self._page.get(322) is not None
        width, height = self.size
        across, down = width, min(self._of_page(278, height) or height, height)
        if tiled:
            across, down = self._number(self._page, 322), self._number(self._page, 323)
        if min(across, down) < 1:
            raise ValueError("its tiles have no pixels")
        limits.check((across, down), len(self._data))
        layout = Layout(
            across,
            1 if planar else count,
            bits,
            floating,
            self._how.order,
            self._predictor(bits, floating),
            compression,
            self._of_page(266, 1),
            self._fax(),
        )
        kind = f"f{bits // 8}" if floating else np.uint8 if bits <= 8 else np.uint16 if bits <= 16 else np.uint32
        pieces = self._pieces(layout, down, tiled, count if planar else 1)
        made = np.empty((height, width, count), kind)
        _fill(made, pieces, layout, down, tiled)
        return made, 1 if floating else 2**bits - 1

    def _predictor(self, bits: int, floating: bool) -> int:
        found = self._of_page(317, 1)
        if found not in (1, 2, 3) or (found == 3) != (floating and found != 1):
            raise Unfit(f"has a predictor (number {found}) that is not known for its samples: save it without")
        if found == 2 and bits not in (8, 16, 32):
            raise Unfit(f"has a predictor over samples of {bits} bits, which is not known here: save it without")
        return found

    def _fax(self) -> tuple[Entry, ...]:
        told = (entry for entry in self._page.entries if entry.tag in (292, 293))
        return directories.in_order(told, self._how.order, "<")

    def _pieces(self, layout: Layout, down: int, tiled: bool, planes: int) -> list[memoryview]:
        """Return the bytes of every strip or tile, plane by plane."""
        width, height = self.size
        wanted = -(-width // layout.width) * -(-height // down) * planes
        offsets = self._numbers(self._page, 324 if tiled else 273)
        lengths = self._numbers(self._page, 325 if tiled else 279, ())
        view = memoryview(self._data)
        if not lengths and layout.compression == strips.NONE:
            lengths = [layout.row_bytes * down] * len(offsets)
        if len(offsets) < wanted or len(lengths) < wanted:
            raise ValueError(f"it lists {min(len(offsets), len(lengths))} of {wanted} strips")
        pieces = [view[start : start + length] for start, length in zip(offsets, lengths, strict=False)][:wanted]
        if any(not len(piece) for piece in pieces):
            raise ValueError("a strip of it lies behind its end")
        return pieces

    def _meant(self, samples: Samples, most: int, meaning: int) -> Raster:
        """Return samples as grey or colours, what is transparent, and what is neither."""
        samples, notes, word = _on_levels(samples, most) if samples.dtype.kind == "f" or most > 65_535 else (
            samples, [], "")  # fmt: skip
        most = min(most, 65_535) if not word else 65_535
        count = _COLOURS[meaning]
        colours, rest = samples[:, :, :count], samples[:, :, count:]
        alpha, extra, whole = self._beside(rest, count, meaning)
        icc = self._content(ICC) or None
        if meaning == _PALETTE:
            if word:
                raise ValueError("its palette is asked for with floating-point numbers")
            levels = of_palette(colours[:, :, 0], self._numbers(self._page, 320), most + 1)
            return Raster(levels, _alpha_like(alpha, most, levels), None, "P" if levels.dtype == np.uint8 else "RGB;16")
        levels = scaled(colours, most)
        alpha = None if alpha is None else scaled(alpha, most)
        extra = None if extra is None else scaled(extra, most)
        if meaning == _WHITE_IS_ZERO:
            levels = np.iinfo(levels.dtype).max - levels
        if alpha is not None and whole is False:
            levels = whole_colours(levels, alpha)
        if meaning == _INKS:
            return self._inks(levels, alpha, extra, icc)
        names = f"{'L' if count == 1 else 'RGB'}{'A' if alpha is not None else ''}"
        mode = word or ("1" if most == 1 and names == "L" else names if most <= 255 else f"{names};{most.bit_length()}")
        return Raster(levels, alpha, extra, mode, notes)

    def _beside(self, rest: Samples, count: int, meaning: int) -> tuple[Levels | None, Levels | None, bool | None]:
        """Return which of the further samples are transparency, which are not, and whether colours are whole."""
        if not rest.shape[2]:
            return None, None, None
        said = self._numbers(self._page, 338, ())
        kinds = [said[index] if index < len(said) else _UNSPECIFIED for index in range(rest.shape[2])]
        place = next((index for index, kind in enumerate(kinds) if kind in (_ASSOCIATED, _UNASSOCIATED)), None)
        others = [index for index in range(len(kinds)) if index != place]
        if len(others) > 1 and meaning in (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _PALETTE):
            raise Unfit(
                f"has {count + len(kinds)} samples a pixel, of which only {count} is a picture: take them apart"
            )
        alpha = None if place is None else np.ascontiguousarray(rest[:, :, place])
        extra = np.ascontiguousarray(rest[:, :, others]) if others else None
        return alpha, extra, None if place is None else kinds[place] == _UNASSOCIATED

    def _inks(self, inks: Levels, alpha: Levels | None, extra: Levels | None, icc: bytes | None) -> Raster:
        if self._of_page(332, 1) != 1:
            raise Unfit("is printed with other inks than cyan, magenta, yellow and black: convert it first")
        levels, notes, described = from_inks(inks, icc)
        if alpha is not None and alpha.dtype != levels.dtype:
            alpha = (alpha >> 8).astype(np.uint8)
        if extra is not None:
            notes.append("samples that are neither ink nor transparency are left out")
        return Raster(levels, alpha, None, "CMYK", notes, described is not None, described)

    def _by_pillow(self, name: str, meaning: int) -> Raster:
        """Decode what is compressed as pictures of 8 bits are, after its orientation is hidden from Pillow."""
        depths, count = set(self._numbers(self._page, 258, (1,))), self._of_page(277, 1)
        planar = self._of_page(284, 1) == 2 and count > 1
        if depths != {8} or planar or (meaning, count) not in ((1, 1), (2, 3), (6, 3), (5, 4)):
            raise Unfit(
                f"holds a {name} of {count} samples of {max(depths)} bits, which is read nowhere here: save it with"
                " deflate"
            )
        with Image.open(io.BytesIO(self._upright_bytes()), formats=["TIFF"]) as opened:
            opened.load()
            if opened.mode == "CMYK":
                return self._inks(np.asarray(opened), None, None, self._content(ICC) or None)
            if opened.mode not in ("L", "RGB") or opened.size != self.size:
                raise Unfit(f"holds a {name} that is decoded as {opened.mode}: save it with deflate")
            return Raster(samples_of(opened), mode=opened.mode)

    def _upright_bytes(self) -> bytes:
        """Return the file with its own page first and an orientation of 1, which Pillow would apply by itself."""
        if self._page is not self._pages[0]:
            raise Unfit("holds a JPEG or WebP behind its first page, which is read nowhere here: take the pages apart")
        if self._how.big:
            raise Unfit(
                "is a JPEG or WebP in a TIFF of 64-bit offsets, which is read nowhere here: save it with deflate"
            )
        return directories.stood_up(self._data)

    # --- what else it says -------------------------------------------------------------------------------------------

    def carried(self, raster: Raster) -> Carried:
        """Return what the directory says of the picture, and in ``raster.notes`` what cannot be kept of it."""
        kept = []
        for entry in self._page.entries:
            if entry.tag == directories.ORIENTATION:
                entry = directories.entry(entry.tag, directories.SHORT, (1,), self._how.order)
            if entry.tag in STRUCTURE | _CARRIED_APART:
                continue
            if not (entry.tag == _DESCRIPTION and entry.content.startswith(_SHAPE)):
                kept.append(entry)
        entries, dropped = directories.writable(kept)
        if lost := (*self._page.broken, *dropped):
            raster.notes.append(f"what it says under {', '.join(lost)} cannot be written and is left out")
        self._note_what_is_inside(raster)
        compression = self._of_page(259, 1)
        return Carried(
            format=self.kind,
            exif=directories.block_of(entries, self._how.order),
            icc=self._content(ICC) or None,
            dpi=self._dpi(),
            xmp=self._content(XMP) or None,
            resources=of_tags(self._content(RESOURCES), self._iptc()),
            lossless=compression not in _BY_PILLOW,
            packed=compression != strips.NONE,
        )

    def _iptc(self) -> bytes:
        entry = self._page.get(IPTC)
        if entry is None:
            return b""
        if entry.type == directories.LONG:  # as many writers have it: bytes that were taken for numbers
            return directories.in_order([entry], self._how.order, "<")[0].content
        return entry.content

    def _note_what_is_inside(self, raster: Raster) -> None:
        if len(self._pages) > 1:
            raster.notes.append("a smaller copy or a mask inside the file is left out")
        if self._page.get(SUBDIRECTORIES) is not None:
            raster.notes.append("further pictures inside the file (SubIFDs) are left out")
        if self._page.get(LAYERS) is not None:
            raster.notes.append("its Photoshop layers are left out: they show it as it was")

    def _dpi(self) -> tuple[float, float] | None:
        sides = [entry.rational(self._how.order) if entry is not None else 0.0 for entry in (
            self._page.get(282), self._page.get(283))]  # fmt: skip
        per_inch = {2: 1.0, 3: 2.54}.get(self._of_page(296, 2))
        return None if per_inch is None else resolution(sides[0] * per_inch, sides[1] * per_inch)


def _fill(made: Samples, pieces: Sequence[memoryview], layout: Layout, down: int, tiled: bool) -> None:
    """Put every strip or tile, ``down`` rows high, into its place."""
    height, width, count = made.shape
    columns, rows = -(-width // layout.width), -(-height // down)
    heights = [down if tiled else min(down, height - row * down) for row in range(rows)]
    every = [heights[index // columns % rows] for index in range(len(pieces))]
    for index, samples in enumerate(strips.unpacked(pieces, every, layout)):
        plane, place = divmod(index, rows * columns)
        top, left = place // columns * down, place % columns * layout.width
        channels = slice(None) if layout.samples == count else slice(plane, plane + 1)
        target = made[top : top + down, left : left + layout.width, channels]
        target[:] = samples[: target.shape[0], : target.shape[1]]


def _alpha_like(alpha: Levels | None, most: int, levels: Levels) -> Levels | None:
    """Return transparency of any depth in the depth of levels."""
    if alpha is None:
        return None
    white = int(np.iinfo(levels.dtype).max)
    return np.rint(alpha.astype(np.float64) * (white / most)).astype(levels.dtype)


def _on_levels(samples: Samples, most: int) -> tuple[Levels, list[str], str]:
    """Return floating-point numbers, or whole ones of 32 bits, on 16 bits where that is what they can mean.

    Raises:
        Unfit: they have no agreed black and white.
    """
    low, high = float(samples.min()), float(samples.max())
    floating = samples.dtype.kind == "f"
    if floating and low >= 0 and high <= 1:
        levels = np.rint(samples.astype(np.float64) * 65_535).astype(np.uint16)
    elif floating and low >= 0 and high <= 255:
        levels = np.rint(samples.astype(np.float64) * 257).astype(np.uint16)
    elif not floating and high <= 65_535:
        levels = samples.astype(np.uint16)
    else:
        expected = "from 0 to 1" if floating else "up to 65535"
        raise Unfit(
            f"holds numbers of {samples.dtype.itemsize * 8} bits from {low:g} to {high:g}, and numbers {expected} were"
            " expected of a picture: convert it first, to a PNG or TIFF of 16 bits say"
        )
    return levels, [], "F" if floating else "I"
