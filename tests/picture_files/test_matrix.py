"""Formats x modes x depths x orientations x packings, each read, written as it was, and decoded by somebody else.

A TIFF is decoded by tifffile, a PNG by the reader below, WebP and JPEG by OpenCV; none of them is what the lab reads
with. What a file shows is known, as the tests have made it.
"""

import io
import struct
import zlib
from dataclasses import dataclass
from itertools import product

import numpy as np
import pytest
import tifffile
from PIL import Image

from darkroom.editing import photographs
from darkroom.picture_files import reading

WIDTH, HEIGHT = 7, 5
WHITE = {np.dtype(np.uint8): 255, np.dtype(np.uint16): 65_535}


# --- a PNG reader and writer of the tests' own -----------------------------------------------------------------------


def png_chunks(content):
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    place, found = 8, []
    while place < len(content):
        length, name = struct.unpack_from(">I4s", content, place)
        found.append((name, content[place + 8 : place + 8 + length]))
        place += 12 + length
    return found


def png_decoded(content):
    """Return samples ``(H, W, C)`` scaled to 8 or 16 bits, transparency among them, as the specification says."""
    chunks = png_chunks(content)
    said = dict(chunks)
    width, height, depth, colours, *_, interlaced = struct.unpack(">2I5B", said[b"IHDR"])
    assert not interlaced
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colours]
    raw = zlib.decompress(b"".join(data for name, data in chunks if name == b"IDAT"))
    row_bytes, step = (width * channels * depth + 7) // 8, max(1, channels * depth // 8)
    rows, above = [], [0] * row_bytes
    for y in range(height):
        kind, line = raw[y * (row_bytes + 1)], list(raw[y * (row_bytes + 1) + 1 : (y + 1) * (row_bytes + 1)])
        for x in range(row_bytes):
            left, corner = (line[x - step], above[x - step]) if x >= step else (0, 0)
            guess = left + above[x] - corner
            nearest = min((left, above[x], corner), key=lambda one: abs(guess - one))
            line[x] = line[x] + [0, left, above[x], (left + above[x]) // 2, nearest][kind] & 255
        rows.append(line)
        above = line
    packed = np.array(rows, np.uint8)
    if depth == 16:
        samples = packed.reshape(height, -1).copy().view(">u2").astype(np.uint16)
    else:
        flags = np.unpackbits(packed, axis=1, count=width * channels * depth).reshape(height, -1, depth)
        samples = (flags * (1 << np.arange(depth)[::-1])).sum(axis=2)
    samples = samples.reshape(height, width, channels)
    key = said.get(b"tRNS")
    if colours == 3:
        palette = np.frombuffer(said[b"PLTE"], np.uint8).reshape(-1, 3)
        shares = np.full(256, 255, np.uint8)
        shares[: len(key or b"")] = np.frombuffer(key or b"", np.uint8)
        shown = palette[samples[:, :, 0]]
        return np.dstack([shown, shares[samples[:, :, 0]]]) if key else shown
    most, white = 2**depth - 1, 65_535 if depth == 16 else 255
    scaled = (samples.astype(np.int64) * white // most).astype(np.uint16 if depth == 16 else np.uint8)
    if key:
        wanted = struct.unpack(f">{channels}H", key)
        scaled = np.dstack([scaled, np.where((samples == wanted).all(axis=2), 0, white).astype(scaled.dtype)])
    return scaled


def png_encoded(samples, depth, colours, *chunks, filters=(0, 1, 2, 3, 4)):
    """Return samples ``(H, W, C)`` as a PNG whose rows take turns in how they are filtered."""
    height, width, channels = samples.shape
    if depth == 16:
        packed = np.ascontiguousarray(samples.astype(">u2")).view(np.uint8).reshape(height, -1)
    else:
        flags = samples.reshape(height, -1, 1) >> np.arange(depth)[::-1] & 1
        packed = np.packbits(flags.reshape(height, -1).astype(np.uint8), axis=1)
    step, lines, above = max(1, channels * depth // 8), [], [0] * packed.shape[1]
    for y, row in enumerate(packed.tolist()):
        kind, line = filters[y % len(filters)], []
        for x, value in enumerate(row):
            left, corner = (row[x - step], above[x - step]) if x >= step else (0, 0)
            guess = left + above[x] - corner
            nearest = min((left, above[x], corner), key=lambda one: abs(guess - one))
            line.append(value - [0, left, above[x], (left + above[x]) // 2, nearest][kind] & 255)
        lines.append(bytes([kind, *line]))
        above = row
    parts = [(b"IHDR", struct.pack(">2I5B", width, height, depth, colours, 0, 0, 0)), *chunks]
    parts += [(b"IDAT", zlib.compress(b"".join(lines))), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in parts
    )


def exif_block(orientation, order="<"):
    mark = b"II" if order == "<" else b"MM"
    return mark + struct.pack(f"{order}HIHHHIHHI", 42, 8, 1, 0x0112, 3, 1, orientation, 0, 0)


# --- what is known ---------------------------------------------------------------------------------------------------


def noise(channels, most, seed=0):
    kind = np.uint8 if most <= 255 else np.uint16
    return np.random.default_rng(seed).integers(0, most + 1, (HEIGHT, WIDTH, channels)).astype(kind)


def full(samples, most):
    """Return samples on all 8 or 16 bits, rounded."""
    white, kind = (255, np.uint8) if most <= 255 else (65_535, np.uint16)
    return np.floor(samples.astype(np.float64) * white / most + 0.5).astype(kind)


def stood_up(samples, orientation):
    """Return samples as EXIF means them, place by place."""
    height, width = samples.shape[:2]
    turned = orientation >= 5
    made = np.empty((width, height, *samples.shape[2:]) if turned else samples.shape, samples.dtype)
    for y, x in product(range(height), range(width)):
        down, across = (height - 1 - y, width - 1 - x)
        to = {1: (y, x), 2: (y, across), 3: (down, across), 4: (down, x),
              5: (x, y), 6: (x, down), 7: (across, down), 8: (across, y)}[orientation]  # fmt: skip
        made[to] = samples[y, x]
    return made


def samples_of(picture):
    return picture.levels if picture.alpha is None else np.dstack([picture.levels, picture.alpha])


def on_eight(samples):
    return samples if samples.dtype == np.uint8 else np.rint(samples / 257).astype(np.uint8)


def as_seen(samples):
    """Return what training sees: 8 bits, on white."""
    samples = on_eight(samples)
    if samples.shape[2] in (1, 3):
        return samples
    share = samples[:, :, -1:].astype(np.float64) / 255
    return np.floor(samples[:, :, :-1] * share + 255 * (1 - share) + 0.5).astype(np.uint8)


def decoded(path):
    """Return samples ``(H, W, C)`` as a decoder sees them that is not ours."""
    if path.suffix == ".png":
        return png_decoded(path.read_bytes())
    if path.suffix == ".tif":
        return tiff_decoded(path)
    import cv2

    found = cv2.imread(str(path), cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION)
    found = found.reshape(*found.shape[:2], -1)
    return found if found.shape[2] == 1 else found[:, :, [2, 1, 0, 3][: found.shape[2]]]


def tiff_decoded(path):
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        found = page.asarray()
        assert page.tags.get(274) is None or page.tags[274].value == 1
        if page.photometric == tifffile.PHOTOMETRIC.PALETTE:
            return (page.colormap.T >> 8).astype(np.uint8)[found]
        if page.bitspersample == 1:
            return (found.astype(np.uint8) * 255)[:, :, None]
        return found.reshape(page.imagelength, page.imagewidth, -1)


def check(path, expected, kind, tmp_path, seen=None):
    """Read a file, write it as it is, and compare with what it shows: ours, training's, and somebody else's."""
    picture = photographs.read(path)
    assert picture.levels.dtype == expected.dtype
    assert np.array_equal(samples_of(picture), expected)
    target = tmp_path / f"written{photographs.ENDINGS[kind][0]}"
    notes = [*picture.notes, *photographs.write(picture, target, kind)]
    read = decoded(target)
    if read.shape[2] == expected.shape[2] + 2:  # grey with transparency, written as colours, which is said
        assert any("comes out as RGBA" in note for note in notes)
        read = read[:, :, 2:]
    assert read.dtype == expected.dtype
    assert np.array_equal(read, expected)
    shown = np.asarray(reading.shown(path))
    assert np.array_equal(shown.reshape(*shown.shape[:2], -1), as_seen(expected) if seen is None else seen)
    assert reading.size(path) == picture.size
    return picture, target, notes


# --- TIFF ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Stored:
    """How a TIFF stores its samples, written by hand."""

    bits: int = 8
    order: str = "<"
    planar: bool = False
    tiled: bool = False
    rows: int = 2  # in a strip
    compression: int = 1
    predictor: int = 1
    fill: int = 1
    big: bool = False


def packed_bits(samples, bits):
    """Return rows ``(H, W, S)`` of whole numbers side by side from the highest bit on."""
    flags = samples.reshape(len(samples), -1, 1).astype(np.int64) >> np.arange(bits)[::-1] & 1
    return np.packbits(flags.reshape(len(samples), -1).astype(np.uint8), axis=1).tobytes()


def stepped(samples, predictor):
    if predictor == 2:
        return np.concatenate([samples[:, :1], samples[:, 1:] - samples[:, :-1]], axis=1)
    return samples


def lzw(content):
    """Return bytes as codes of LZW that name one byte each, the table emptied before it grows to ten bits."""
    codes = []
    for place, byte in enumerate(content):
        codes += [256] * (place % 200 == 0) + [byte]
    flags = "".join(f"{code:09b}" for code in [*codes, 257])
    return bytes(int(flags[start : start + 8].ljust(8, "0"), 2) for start in range(0, len(flags), 8))


def packbits(content):
    parts = [content[start : start + 100] for start in range(0, len(content), 100)]
    return b"".join(bytes([len(part) - 1]) + part for part in parts)


PACK = {1: bytes, 5: lzw, 8: zlib.compress, 32946: zlib.compress, 32773: packbits}


def tiff_file(path, samples, meaning, how, *more):
    """Write samples ``(H, W, S)``; ``more`` are tags: number, type, values."""
    height, width, count = samples.shape
    planes = [samples[:, :, index : index + 1] for index in range(count)] if how.planar else [samples]
    pieces = []
    for plane in planes:
        if how.tiled:
            wide = np.zeros((-(-height // 16) * 16, -(-width // 16) * 16, plane.shape[2]), plane.dtype)
            wide[:height, :width] = plane
            parts = [wide[top : top + 16, left : left + 16]
                     for top in range(0, len(wide), 16) for left in range(0, wide.shape[1], 16)]  # fmt: skip
        else:
            parts = [plane[top : top + how.rows] for top in range(0, height, how.rows)]
        for part in parts:
            part = stepped(part, how.predictor)
            if how.bits in (8, 16, 32):
                content = part.astype(part.dtype.newbyteorder(how.order)).tobytes()
            else:
                content = packed_bits(part, how.bits)
            content = PACK[how.compression](content)
            if how.fill == 2:
                content = bytes(int(f"{byte:08b}"[::-1], 2) for byte in content)
            pieces.append(content)
    tags = [
        (256, 4, [width]), (257, 4, [height]), (258, 3, [how.bits] * count), (259, 3, [how.compression]),
        (262, 3, [meaning]), (266, 3, [how.fill]), (277, 3, [count]), (284, 3, [2 if how.planar else 1]), *more,
    ]  # fmt: skip
    if how.predictor != 1:
        tags.append((317, 3, [how.predictor]))
    tags += [(322, 4, [16]), (323, 4, [16])] if how.tiled else [(278, 4, [how.rows])]
    at, lengths = (324, 325) if how.tiled else (273, 279)
    tags += [(at, 4, [0] * len(pieces)), (lengths, 4, [len(piece) for piece in pieces])]
    start = len(directory(tags, how))
    places = np.cumsum([start, *map(len, pieces[:-1])]).tolist()
    tags = [(tag, kind, places if tag == at else values) for tag, kind, values in tags]
    path.write_bytes(directory(tags, how) + b"".join(pieces))


def directory(tags, how):
    order, word, letter = how.order, *((8, "Q") if how.big else (4, "I"))
    mark = b"II" if order == "<" else b"MM"
    head = mark + (struct.pack(f"{order}3HQ", 43, 8, 0, 16) if how.big else struct.pack(f"{order}HI", 42, 8))
    each = 20 if how.big else 12
    behind = len(head) + (8 if how.big else 2) + each * len(tags) + word
    table, rest = struct.pack(f"{order}{'Q' if how.big else 'H'}", len(tags)), b""
    for tag, kind, values in sorted(tags):
        content = values if isinstance(values, bytes) else struct.pack(
            f"{order}{len(values)}{ {1: 'B', 3: 'H', 4: 'I', 5: 'I', 16: 'Q'}[kind]}", *values)  # fmt: skip
        size = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 7: 1, 16: 8}[kind]
        table += struct.pack(f"{order}2H{letter}", tag, kind, len(content) // size)
        if len(content) > word:
            table += struct.pack(f"{order}{letter}", behind + len(rest))
            rest += content + b"\0" * (len(content) % 2)
        else:
            table += content.ljust(word, b"\0")
    return head + table + bytes(word) + rest


MODES = {"L": (1, 1), "W": (0, 1), "LA": (1, 2), "RGB": (2, 3), "RGBA": (2, 4)}  # meaning, samples
DEPTHS = (1, 2, 4, 8, 10, 12, 14, 16)
LAYOUTS = {
    "strips": {},
    "one strip": {"rows": 100},
    "big-endian": {"order": ">"},
    "planar": {"planar": True},
    "tiles": {"tiled": True},
    "planar tiles": {"planar": True, "tiled": True, "order": ">"},
    "lzw": {"compression": 5},
    "deflate": {"compression": 8},
    "old deflate": {"compression": 32946, "planar": True},
    "packbits": {"compression": 32773, "rows": 1},
    "bits from the right": {"fill": 2},
    "64-bit offsets": {"big": True, "order": ">"},
}
PREDICTED = {
    "lzw": {"compression": 5, "predictor": 2},
    "deflate": {"compression": 8, "predictor": 2, "order": ">"},
    "planar": {"compression": 8, "predictor": 2, "planar": True},
    "tiles": {"compression": 5, "predictor": 2, "tiled": True},
}


def meant(samples, mode, most):
    shown = full(samples, most)
    return WHITE[shown.dtype] - shown if mode == "W" else shown


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("mode", MODES)
def test_tiff_of_every_mode_depth_and_layout(mode, depth, layout, tmp_path):
    meaning, count = MODES[mode]
    samples = noise(count, 2**depth - 1)
    beside = [(338, 3, [2])] if mode.endswith("A") else []
    tiff_file(tmp_path / "in.tif", samples, meaning, Stored(depth, **LAYOUTS[layout]), *beside)
    check(tmp_path / "in.tif", meant(samples, mode, 2**depth - 1), "tiff", tmp_path)


@pytest.mark.parametrize("layout", PREDICTED)
@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("mode", MODES)
def test_tiff_of_differences(mode, depth, layout, tmp_path):
    meaning, count = MODES[mode]
    samples = noise(count, 2**depth - 1)
    beside = [(338, 3, [2])] if mode.endswith("A") else []
    tiff_file(tmp_path / "in.tif", samples, meaning, Stored(depth, **PREDICTED[layout]), *beside)
    check(tmp_path / "in.tif", meant(samples, mode, 2**depth - 1), "tiff", tmp_path)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("depth", [1, 8, 12, 16])
@pytest.mark.parametrize("mode", MODES)
def test_tiff_is_stood_up(mode, depth, orientation, tmp_path):
    meaning, count = MODES[mode]
    samples = noise(count, 2**depth - 1)
    beside = [(338, 3, [2])] if mode.endswith("A") else []
    tiff_file(tmp_path / "in.tif", samples, meaning, Stored(depth), (274, 3, [orientation]), *beside)
    check(tmp_path / "in.tif", stood_up(meant(samples, mode, 2**depth - 1), orientation), "tiff", tmp_path)


LIBTIFF = list(
    product(["1", "L", "LA", "P", "RGB", "RGBA", "I;16"], [None, "tiff_lzw", "tiff_adobe_deflate", "packbits"])
)


@pytest.mark.parametrize(("mode", "compression"), [*LIBTIFF, ("1", "group3"), ("1", "group4")])
def test_tiff_as_libtiff_writes_it(mode, compression, tmp_path):
    samples = noise({"LA": 2, "RGB": 3, "RGBA": 4}.get(mode, 1), {"1": 1, "I;16": 65_535}.get(mode, 255))
    plane = samples[:, :, 0]
    image = Image.fromarray(plane * 255).convert("1") if mode == "1" else (
        Image.fromarray(plane) if mode in ("L", "P", "I;16") else Image.fromarray(samples))  # fmt: skip
    expected = samples * 255 if mode == "1" else samples
    if mode == "P":
        palette = np.random.default_rng(1).integers(0, 256, (256, 3)).astype(np.uint8)
        image.putpalette(palette.tobytes())
        expected = palette[plane]
    image.save(tmp_path / "in.tif", compression=compression)
    check(tmp_path / "in.tif", expected, "tiff", tmp_path)


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("kind", [0, 1, 2, None])
@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_only_two_kinds_of_further_samples_are_transparency(mode, kind, depth, tmp_path):
    meaning, count = MODES[mode]
    most = 2**depth - 1
    samples = noise(count, most)
    if kind == 1:  # colours times transparency, which they cannot exceed
        alpha = np.maximum(samples[:, :, -1:], 1)
        whole = samples[:, :, :-1].astype(np.float64)
        samples = np.dstack([np.rint(whole * alpha / most).astype(samples.dtype), alpha])
    more = [] if kind is None else [(338, 3, [kind])]
    tiff_file(tmp_path / "in.tif", samples, meaning, Stored(depth), *more)
    picture = photographs.read(tmp_path / "in.tif")
    notes = photographs.write(picture, tmp_path / "out.tif", "tiff")
    if kind in (1, 2):
        assert np.array_equal(picture.alpha, samples[:, :, -1])
        assert picture.extra is None
        colours = picture.levels
        if kind == 1:  # what was multiplied gives the same when it is multiplied again
            colours = np.rint(colours.astype(np.float64) * picture.alpha[:, :, None] / most)
        assert np.array_equal(colours, samples[:, :, :-1])
        return
    assert picture.alpha is None
    assert np.array_equal(picture.levels, samples[:, :, :-1])
    assert notes == []
    with tifffile.TiffFile(tmp_path / "out.tif") as file:  # it is still there, and still says nothing of itself
        assert np.array_equal(file.pages[0].asarray(), samples)
        assert [int(each) for each in file.pages[0].extrasamples] == [0]
    assert "neither colour nor transparency" in photographs.write(picture, tmp_path / "out.png", "png")[0]
    assert np.array_equal(decoded(tmp_path / "out.png"), samples[:, :, :-1])


@pytest.mark.parametrize("scale", [1, 256, 257, None])
@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_tiff_with_a_palette_whatever_its_writer_took_for_white(depth, scale, tmp_path):
    numbers = noise(1, 2**depth - 1)
    generator = np.random.default_rng(2)
    deep = generator.integers(0, 65_536, (2**depth, 3))
    palette = deep if scale is None else generator.integers(0, 256, (2**depth, 3)) * scale
    tiff_file(tmp_path / "in.tif", numbers, 3, Stored(depth), (320, 3, palette.T.ravel().tolist()))
    expected = palette.astype(np.uint16) if scale is None else (palette // scale).astype(np.uint8)
    check(tmp_path / "in.tif", expected[numbers[:, :, 0]], "tiff", tmp_path)


@pytest.mark.parametrize("profile", [False, True])
@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("more", [0, 1])
def test_inks_of_a_tiff_become_colours_and_it_is_said(more, depth, profile, tmp_path):
    most = 2**depth - 1
    inks = np.zeros((HEIGHT, WIDTH, 4 + more), np.uint8 if depth == 8 else np.uint16)
    inks[:, :3, 1:3] = most  # magenta and yellow: red
    inks[:, 3:5, 3] = most  # black
    inks[:, :, 4:] = most // 2
    said = [(338, 3, [2])] * more + [(34675, 7, b"a profile that is none")] * profile
    tiff_file(tmp_path / "in.tif", inks, 5, Stored(depth), *said)
    picture = photographs.read(tmp_path / "in.tif")
    assert np.array_equal(picture.levels[0, [0, 3, 6]], [[255, 0, 0], [0, 0, 0], [255, 255, 255]])
    assert (picture.alpha is not None) == bool(more)
    assert picture.carried.icc is None
    assert ("its 16 bits became 8" in picture.notes[0]) == (depth == 16)
    assert "CMYK is converted" in picture.notes[-1]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_jpeg_in_a_tiff_is_stood_up_once(mode, orientation, tmp_path):
    samples = np.kron(noise(len(mode), 255), np.ones((16, 16, 1), np.uint8))
    image = Image.fromarray(samples if mode == "RGB" else samples[:, :, 0])
    image.save(tmp_path / "in.tif", compression="jpeg", quality=100, tiffinfo={274: orientation})
    picture, _, _ = check(tmp_path / "in.tif", photographs.read(tmp_path / "in.tif").levels, "tiff", tmp_path)
    assert np.abs(picture.levels.astype(int) - stood_up(samples, orientation)).mean() < 12  # it has losses


@pytest.mark.parametrize("predictor", [1, 3])
@pytest.mark.parametrize("compression", [5, 8])
def test_floating_point_numbers_are_seen_by_training(compression, predictor, tmp_path):
    import cv2

    levels = np.linspace(0, 1, HEIGHT * WIDTH * 3, dtype=np.float32).reshape(HEIGHT, WIDTH, 3)
    settings = [cv2.IMWRITE_TIFF_COMPRESSION, compression, cv2.IMWRITE_TIFF_PREDICTOR, predictor]
    cv2.imwrite(str(tmp_path / "in.tif"), levels[:, :, ::-1], settings)
    with tifffile.TiffFile(tmp_path / "in.tif") as file:
        assert file.pages[0].predictor == predictor
    shown = np.asarray(reading.shown(tmp_path / "in.tif"))
    assert np.abs(shown - levels * 255.0).max() < 0.51


# --- PNG -------------------------------------------------------------------------------------------------------------

PNGS = [(0, depth) for depth in (1, 2, 4, 8, 16)] + [(3, depth) for depth in (1, 2, 4, 8)]
PNGS += [(colours, depth) for colours in (2, 4, 6) for depth in (8, 16)]
COUNTS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


def png_case(colours, depth, keyed, orientation=1):
    """Return a PNG and what it shows, transparency among it."""
    samples = noise(COUNTS[colours], 2**depth - 1, seed=depth)
    chunks = [(b"eXIf", exif_block(orientation))] if orientation != 1 else []
    if colours == 3:
        palette = np.random.default_rng(3).integers(0, 256, (2**depth, 3)).astype(np.uint8)
        chunks.append((b"PLTE", palette.tobytes()))
    if keyed and colours == 3:
        chunks.append((b"tRNS", bytes([0, 128])))
    elif keyed:
        chunks.append((b"tRNS", struct.pack(f">{COUNTS[colours]}H", *samples[2, 3].tolist())))
    content = png_encoded(samples, depth, colours, *chunks)
    return content, stood_up(png_decoded(content), orientation)


@pytest.mark.parametrize("kind", ["png", "tiff"])
@pytest.mark.parametrize(
    ("colours", "depth", "keyed"),
    [(*each, keyed) for each in PNGS for keyed in (False, True) if not (keyed and each[0] in (4, 6))],
)
def test_png_of_every_kind_and_depth(colours, depth, keyed, kind, tmp_path):
    content, expected = png_case(colours, depth, keyed)
    (tmp_path / "in.png").write_bytes(content)
    check(tmp_path / "in.png", expected, kind, tmp_path)


@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize(("colours", "depth"), [(0, 1), (0, 16), (3, 4), (2, 8), (2, 16), (6, 16)])
def test_png_is_stood_up(colours, depth, orientation, tmp_path):
    content, expected = png_case(colours, depth, False, orientation)
    (tmp_path / "in.png").write_bytes(content)
    _, target, _ = check(tmp_path / "in.png", expected, "png", tmp_path)
    assert dict(png_chunks(target.read_bytes()))[b"eXIf"] == exif_block(1)


ADAM7 = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]


@pytest.mark.parametrize(("colours", "depth"), PNGS)
def test_interlaced_png(colours, depth, tmp_path):
    samples = noise(COUNTS[colours], 2**depth - 1)
    plain = png_encoded(samples, depth, colours, *[(b"PLTE", bytes(range(256)) * 3)] * (colours == 3), filters=(0,))
    raw = b""
    for top, left, down, across in ADAM7:  # a picture of every pass, unfiltered
        part = samples[top::down, left::across]
        if part.size:
            content = png_encoded(part, depth, colours, filters=(0,))
            raw += zlib.decompress(dict(png_chunks(content))[b"IDAT"])
    parts = [(b"IHDR", struct.pack(">2I5B", WIDTH, HEIGHT, depth, colours, 0, 0, 1)), (b"IDAT", zlib.compress(raw))]
    parts[1:1] = [(b"PLTE", bytes(range(256)) * 3)] * (colours == 3)
    (tmp_path / "in.png").write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
            for name, data in [*parts, (b"IEND", b"")]
        )
    )
    check(tmp_path / "in.png", png_decoded(plain), "png", tmp_path)


# --- the others ------------------------------------------------------------------------------------------------------


WHITES = list(product(["P2", "P3", "P5", "P6", "P7"], [1, 15, 100, 255, 1023, 4095, 65_535]))


@pytest.mark.parametrize(("magic", "white"), [("P1", 1), ("P4", 1), *WHITES])
def test_netpbm_of_every_white(magic, white, tmp_path):
    bits = magic in ("P1", "P4")
    samples = noise({"P3": 3, "P6": 3, "P7": 4}.get(magic, 1), white)
    head = f"{magic}\n# A comment\n{WIDTH} {HEIGHT}\n" + ("" if bits else f"{white}\n")
    if magic == "P7":
        head = f"P7\nWIDTH {WIDTH}\nHEIGHT {HEIGHT}\nDEPTH 4\nMAXVAL {white}\nTUPLTYPE RGB_ALPHA\nENDHDR\n"
    if magic in ("P1", "P2", "P3"):
        content = " ".join(map(str, samples.ravel().tolist())).encode()
    elif magic == "P4":
        content = packed_bits(samples, 1)
    else:
        content = samples.astype(">u2" if white > 255 else "u1").tobytes()
    (tmp_path / "in.pnm").write_bytes(head.encode() + content)
    expected = full(samples, white)
    check(tmp_path / "in.pnm", 255 - expected if bits else expected, "png", tmp_path)


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_jpeg_2000_of_more_than_8_bits(channels, depth, tmp_path):
    import cv2

    samples = np.random.default_rng(0).integers(0, 2**depth, (48, 64, channels))
    samples = samples.astype(np.uint8 if depth == 8 else np.uint16)
    order = [0] if channels == 1 else [2, 1, 0, 3][:channels]
    cv2.imwrite(str(tmp_path / "in.jp2"), samples[:, :, order], [cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, 1000])
    expected = full(samples, 255 if depth == 8 else 65_535)
    check(tmp_path / "in.jp2", expected, "png", tmp_path)


@pytest.mark.parametrize("depth", [8, 10, 12])
def test_avif_of_more_than_8_bits(depth, tmp_path):
    import cv2

    samples = np.random.default_rng(0).integers(0, 2**depth, (48, 64, 3)).astype(np.uint8 if depth == 8 else np.uint16)
    settings = [cv2.IMWRITE_AVIF_DEPTH, depth, cv2.IMWRITE_AVIF_QUALITY, 100]
    cv2.imwrite(str(tmp_path / "in.avif"), samples[:, :, ::-1], settings)
    check(tmp_path / "in.avif", full(samples, 2**depth - 1), "png", tmp_path)


SIMPLE = {
    "bmp": ["1", "L", "P", "RGB"],
    "gif": ["1", "L", "P", "RGB"],
    "tga": ["L", "LA", "RGB", "RGBA"],
    "webp": ["RGB", "RGBA"],
    "jp2": ["L", "LA", "RGB", "RGBA"],
    "png": ["1", "L", "LA", "P", "RGB", "RGBA"],
}


@pytest.mark.parametrize(("ending", "mode"), [(ending, mode) for ending, modes in SIMPLE.items() for mode in modes])
def test_formats_of_8_bits_without_losses(ending, mode, tmp_path):
    colours = noise(4, 255)
    colours[:, :, :3] //= 64  # few enough for a palette
    image = Image.fromarray(colours).convert("RGB" if mode in ("1", "P") else mode)
    image = image.quantize(64) if mode == "P" else image.convert(mode)
    said = {"lossless": True, "exact": True} if ending == "webp" else {"irreversible": False} if ending == "jp2" else {}
    image.save(tmp_path / f"in.{ending}", **said)
    shown = {"1": "L", "P": "RGB"}.get(mode, mode)
    expected = np.asarray(image.convert(shown)).reshape(HEIGHT, WIDTH, -1)
    picture = photographs.read(tmp_path / f"in.{ending}")
    if ending == "gif" and mode in ("1", "L"):  # which holds colours only
        expected = expected if picture.levels.shape[2] == 1 else expected.repeat(3, axis=2)
    check(tmp_path / f"in.{ending}", expected, "png", tmp_path)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ending", ["jpg", "webp", "avif"])
def test_what_cameras_write_is_stood_up(ending, orientation, tmp_path):
    flat = np.kron(noise(3, 255), np.ones((8, 8, 1), np.uint8))
    buffer = io.BytesIO()
    kind = {"jpg": "JPEG", "webp": "WEBP", "avif": "AVIF"}[ending]
    said = {"lossless": True} if ending == "webp" else {"quality": 100}
    Image.fromarray(flat).save(buffer, kind, exif=b"Exif\0\0" + exif_block(orientation), **said)
    (tmp_path / f"in.{ending}").write_bytes(buffer.getvalue())
    import cv2

    raw = cv2.imdecode(np.frombuffer(buffer.getvalue(), np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    expected = stood_up(raw[:, :, ::-1], orientation)
    picture, target, _ = check(
        tmp_path / f"in.{ending}", photographs.read(tmp_path / f"in.{ending}").levels, "png", tmp_path
    )
    assert np.abs(picture.levels.astype(int) - expected).max() <= 2  # two decoders of what has losses
    if ending != "avif":  # which says it outside of EXIF
        assert dict(png_chunks(target.read_bytes()))[b"eXIf"] == exif_block(1)


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_jpeg_goes_in_as_it_is_decoded(mode, progressive, subsampling, tmp_path):
    samples = noise({"L": 1, "RGB": 3}[mode], 255)
    image = Image.fromarray(samples[:, :, 0] if mode == "L" else samples)
    image.save(tmp_path / "in.jpg", quality=90, progressive=progressive, subsampling=subsampling)
    expected = np.asarray(Image.open(tmp_path / "in.jpg")).reshape(HEIGHT, WIDTH, -1)
    for kind in ("png", "tiff", "webp"):
        picture = photographs.read(tmp_path / "in.jpg")
        photographs.write(picture, tmp_path / f"out{photographs.ENDINGS[kind][0]}", kind)
        if kind != "webp":  # which has losses as the JPEG has
            assert np.array_equal(decoded(tmp_path / f"out{photographs.ENDINGS[kind][0]}"), expected)


@pytest.mark.parametrize("kind", ["png", "tiff"])
def test_a_gif_with_a_transparent_colour(kind, tmp_path):
    numbers = noise(1, 7)[:, :, 0]
    image = Image.fromarray(numbers, "P")
    palette = np.random.default_rng(5).integers(0, 256, (8, 3)).astype(np.uint8)
    image.putpalette(palette.tobytes())
    image.save(tmp_path / "in.gif", transparency=3)
    expected = np.dstack([palette[numbers], np.where(numbers == 3, 0, 255).astype(np.uint8)])
    check(tmp_path / "in.gif", expected, kind, tmp_path)


@pytest.mark.parametrize("green", [5, 6])
def test_a_bitmap_of_16_bits_a_pixel(green, tmp_path):
    levels = [noise(1, 2**bits - 1, seed=bits)[:, :, 0].astype(np.uint16) for bits in (5, green, 5)]
    packed = np.zeros((HEIGHT, WIDTH + WIDTH % 2), "<u2")
    packed[::-1, :WIDTH] = levels[0] << (5 + green) | levels[1] << 5 | levels[2]
    masks = [0x1F << (5 + green), (2**green - 1) << 5, 0x1F]
    head = struct.pack("<I2i2H6I", 40, WIDTH, HEIGHT, 1, 16, 3, packed.nbytes, 0, 0, 0, 0) + struct.pack("<3I", *masks)
    (tmp_path / "in.bmp").write_bytes(b"BM" + struct.pack("<3I", 66 + packed.nbytes, 0, 66) + head + packed.tobytes())
    white = (31, 2**green - 1, 31)
    exact = np.dstack([each * (255 / most) for each, most in zip(levels, white, strict=True)])
    assert np.abs(photographs.read(tmp_path / "in.bmp").levels - exact).max() < 1


def test_a_second_picture_behind_a_ppm_is_said(tmp_path):
    one = b"P6\n7 5\n255\n" + noise(3, 255).tobytes()
    (tmp_path / "in.ppm").write_bytes(one + one)
    picture = photographs.read(tmp_path / "in.ppm")
    assert np.array_equal(picture.levels, noise(3, 255))
    assert "further pictures" in picture.notes[0]


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("kind", ["png", "webp", "tiff"])
def test_webp_without_losses(mode, kind, tmp_path):
    samples = noise(len(mode), 255)
    Image.fromarray(samples).save(tmp_path / "in.webp", lossless=True, exact=True)
    check(tmp_path / "in.webp", samples, kind, tmp_path)
