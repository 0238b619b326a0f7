"""Damaged files, files that promise too much, and numbers that are no picture: one sentence each, with the name."""

import io
import struct
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image

from darkroom.editing import photographs
from darkroom.errors import UserError
from darkroom.picture_files import limits, reading
from darkroom.picture_files.picture import UnreadablePicture


def noise(channels=3):
    return np.random.default_rng(0).integers(0, 256, (40, 48, channels)).astype(np.uint8)


def saved(ending):
    buffer = io.BytesIO()
    image = Image.fromarray(noise())
    kind = {"jpg": "JPEG", "jp2": "JPEG2000", "tif": "TIFF", "tga": "TGA", "ppm": "PPM"}.get(ending, ending.upper())
    if ending == "png16":
        tall = noise().astype(np.uint16) * 257
        import cv2

        return cv2.imencode(".png", tall)[1].tobytes()
    image.save(buffer, kind, **({"compression": "tiff_lzw"} if ending == "tif" else {}))
    return buffer.getvalue()


ENDINGS = ["png", "png16", "jpg", "webp", "tif", "gif", "bmp", "tga", "ppm", "jp2", "avif"]


@pytest.mark.parametrize("share", [0.0, 0.001, 0.02, 0.3, 0.6, 0.9])
@pytest.mark.parametrize("ending", ENDINGS)
def test_what_is_cut_off_is_named(ending, share, tmp_path):
    content = saved(ending)
    path = tmp_path / f"cut.{ending}"
    path.write_bytes(content[: int(len(content) * share)])
    for read in (photographs.read, reading.shown):
        with pytest.raises(UnreadablePicture, match=f"cut.{ending}") as caught:
            read(path)
        assert "\n" not in str(caught.value)
        assert caught.value.reason


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("ending", ENDINGS)
def test_changed_bytes_give_a_picture_or_a_sentence(ending, seed, tmp_path):
    content = bytearray(saved(ending))
    generator = np.random.default_rng(seed)
    head = min(len(content), 600)
    for place in generator.integers(0, head, 6):
        content[place] = generator.integers(0, 256)
    path = tmp_path / "changed.bin"
    path.write_bytes(content)
    try:
        picture = photographs.read(path)
    except UnreadablePicture as error:
        said = str(error)
    else:
        said = str(path)
        for kind in ("png", "jpeg", "tiff"):
            photographs.write(picture, tmp_path / "out", kind)
            assert photographs.read(tmp_path / "out").size == picture.size
    assert "changed.bin" in said


def bomb(kind, width, height):
    """Return a file of some hundred bytes that promises so many pixels."""
    if kind == "png":
        parts = [(b"IHDR", struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0)), (b"IDAT", zlib.compress(b"\0" * 100)),
                 (b"IEND", b"")]  # fmt: skip
        return b"\x89PNG\r\n\x1a\n" + b"".join(
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
            for name, data in parts
        )
    if kind.startswith("tiff"):
        tags = [(256, 4, width), (257, 4, height), (258, 3, 8), (259, 3, 1 if kind == "tiff" else 8), (262, 3, 1),
                (273, 4, 8), (277, 3, 1), (278, 4, height), (279, 4, 100)]  # fmt: skip
        table = struct.pack("<H", len(tags)) + b"".join(
            struct.pack("<2HI", tag, form, 1) + struct.pack("<I", value) for tag, form, value in tags
        )
        return b"II*\0" + struct.pack("<I", 108) + bytes(100) + table + bytes(4)
    if kind == "webp":
        body = (
            b"VP8L" + struct.pack("<I", 20) + b"\x2f" + struct.pack("<I", (height - 1) << 14 | (width - 1)) + bytes(15)
        )
        return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body
    if kind == "gif":
        return b"GIF89a" + struct.pack("<2H3B", width, height, 0x80, 0, 0) + bytes(6) + b"," + struct.pack(
            "<4HB", 0, 0, width, height, 0) + b"\x02\x02\x4c\x01\x00;"  # fmt: skip
    if kind == "bmp":
        return b"BM" + struct.pack("<3I", 154, 0, 54) + struct.pack(
            "<I2i2H6I", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0) + bytes(100)  # fmt: skip
    if kind == "ppm":
        return f"P6\n{width} {height}\n255\n".encode() + bytes(100)
    assert kind == "jpeg"
    content = bytearray(saved("jpg"))
    place = content.find(b"\xff\xc0")
    struct.pack_into(">2H", content, place + 5, height, width)
    return bytes(content)


BOMBS = ["png", "tiff", "tiff deflate", "webp", "gif", "bmp", "ppm", "jpeg"]
TOO_LARGE = [(50_000, 50_000), (16_000, 16_000), (9_000, 9_000)]


@pytest.mark.parametrize(
    ("kind", "size"), [(kind, size) for kind in BOMBS for size in TOO_LARGE if kind != "webp" or max(size) < 16_384]
)
def test_what_promises_too_much_is_refused_before_memory_is_taken(kind, size, tmp_path):
    import resource

    (tmp_path / "bomb.bin").write_bytes(bomb(kind, *size))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UserError, match=r"bomb\.bin"):
        photographs.read(tmp_path / "bomb.bin")
    with pytest.raises(UserError, match=r"bomb\.bin"):
        reading.shown(tmp_path / "bomb.bin")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kilobytes


def test_the_limit_is_said_in_megapixels_and_gigabytes(tmp_path):
    (tmp_path / "bomb.png").write_bytes(bomb("png", 40_000, 25_000))
    with pytest.raises(UserError, match=r"40000x25000 pixels, 1,000 megapixels .* 3.0 GB of memory: at most 500 mega"):
        photographs.read(tmp_path / "bomb.png")


def test_what_is_written_can_be_read_up_to_the_limit():
    assert Image.MAX_IMAGE_PIXELS == limits.MOST_PIXELS
    limits.check((16_000, 12_000), 600_000)  # 192 megapixels, as small as they can be packed
    with pytest.raises(Exception, match="at most 500"):
        limits.check((25_000, 20_001), 10**9)


@pytest.mark.parametrize(("kind", "side"), [("webp", 16_384), ("jpeg", 65_501)])
def test_more_pixels_than_a_format_counts_are_refused(kind, side, tmp_path):
    picture = photographs.Picture(np.zeros((1, side, 1), np.uint8))
    with pytest.raises(UserError, match=f"{side}x1 pixels, and a {kind.upper()} has at most {side - 1} a side"):
        photographs.write(picture, tmp_path / "out", kind)
    assert photographs.write(picture, tmp_path / "out.png", "png") == []
    assert photographs.read(tmp_path / "out.png").size == (side, 1)


def test_an_unpacked_text_has_a_limit(tmp_path):
    buffer = io.BytesIO()
    Image.fromarray(noise()).save(buffer, "PNG")
    data = b"Title\0\0" + zlib.compress(bytes(80 * 2**20))
    extra = struct.pack(">I", len(data)) + b"zTXt" + data + struct.pack(">I", zlib.crc32(b"zTXt" + data))
    (tmp_path / "in.png").write_bytes(buffer.getvalue()[:33] + extra + buffer.getvalue()[33:])
    with pytest.raises(UserError, match="unpacks to more than 64 MB"):
        photographs.read(tmp_path / "in.png")


NO_PICTURES = {
    "signed": (np.zeros((8, 8), np.int16) - 1, {}, "signed numbers of 16 bits"),
    "signed bytes": (np.zeros((8, 8), np.int8) - 1, {}, "signed numbers of 8 bits"),
    "complex": (np.zeros((8, 8), np.complex64), {}, "complex numbers"),
    "floats": (np.full((8, 8), 0.5, np.float32), {}, "numbers of 32 bits"),
    "floats without a white": (
        np.full((8, 8), 1e6, np.float32),
        {},
        "from 1e[+]06 to 1e[+]06, and numbers from 0 to 1",
    ),
    "floats of nothing": (np.full((8, 8), np.nan, np.float32), {}, "from nan to nan"),
    "large": (np.full((8, 8), 2**31, np.uint32), {}, "numbers of 32 bits"),
    "larger": (np.zeros((8, 8), np.uint64), {}, "numbers of 64 bits"),
    "bands": (np.zeros((8, 8, 6), np.uint8), {"photometric": "minisblack", "planarconfig": "contig"}, "6 samples"),
    "lab": (np.zeros((8, 8, 3), np.uint8), {"photometric": "cielab"}, "LAB"),
    "sensor": (np.zeros((8, 8), np.uint16), {"photometric": "cfa"}, "what a sensor saw"),
}


@pytest.mark.parametrize("kind", NO_PICTURES)
def test_numbers_that_are_no_picture_are_refused(kind, tmp_path):
    levels, said, words = NO_PICTURES[kind]
    tifffile.imwrite(tmp_path / "in.tif", levels, **said)
    with pytest.raises(UserError, match=words) as caught:
        photographs.read(tmp_path / "in.tif")
    assert "in.tif" in str(caught.value)


@pytest.mark.parametrize("most", [1, 255])
def test_floating_point_scans_are_seen_by_training(most, tmp_path):
    levels = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
    tifffile.imwrite(tmp_path / "in.tif", levels * most)
    assert np.abs(np.asarray(reading.shown(tmp_path / "in.tif")) - levels * 255).max() <= 0.51
