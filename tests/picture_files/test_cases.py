"""Small files that programs get wrong, made by hand, through ``darkroom edit`` with an edit that changes nothing."""

import io
import json
import struct
import zlib

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from darkroom.commands import edit as command
from darkroom.config.composing import compose
from darkroom.editing.editor import Editor
from darkroom.operations.restoration import Denoise
from darkroom.picture_files import reading

GENERATOR = np.random.default_rng(0)
COLOURS = GENERATOR.integers(0, 65_536, (40, 60, 3)).astype(np.uint16)
GREY = GENERATOR.integers(0, 65_536, (40, 60)).astype(np.uint16)
RGBA = GENERATOR.integers(0, 256, (40, 60, 4)).astype(np.uint8)
BITS = GENERATOR.integers(0, 2, (40, 60)).astype(np.uint8)


@pytest.fixture(scope="module")
def settings():
    return compose("edit", ["operation=denoise", "track=false", "self_test=false"])


@pytest.fixture
def edit(tmp_path, settings, monkeypatch):
    """Edit every file of the folder ``in`` into ``out``; return the exit code, and the line of each by its name."""
    monkeypatch.setenv("DARKROOM_ROOT", str(tmp_path / "project"))
    monkeypatch.setattr(Denoise, "needs", None)
    monkeypatch.setattr(Denoise, "editor", lambda self, run: Editor(lambda colours, mask: colours, reach=0))
    (tmp_path / "in").mkdir()

    def run(**more):
        places = {"input": tmp_path / "in", "output": tmp_path / "out", "report": tmp_path / "log"}
        code = 0
        try:
            command.edit({**settings, **{key: str(place) for key, place in places.items()}, **more})
        except SystemExit as left:
            code = left.code
        lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
        return code, {line["file"].rpartition("/")[2]: line for line in lines}

    return run


def png(samples, *chunks):
    content = cv2.imencode(".png", samples)[1].tobytes()
    extra = b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )
    return content[:33] + extra + content[33:]


def one_bit_with_a_key():
    rows = np.hstack([np.zeros((40, 1), np.uint8), np.packbits(BITS, axis=1)])
    parts = [(b"IHDR", struct.pack(">2I5B", 60, 40, 1, 0, 0, 0, 0)), (b"tRNS", b"\0\0")]
    parts += [(b"IDAT", zlib.compress(rows.tobytes())), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in parts
    )


def jpeg(*segments):
    buffer = io.BytesIO()
    Image.fromarray((COLOURS >> 8).astype(np.uint8)).save(buffer, "JPEG")
    extra = b"".join(struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data for marker, data in segments)
    return buffer.getvalue()[:2] + extra + buffer.getvalue()[2:]  # before JFIF, as some write it


def twelve_bits():
    flags = (GREY >> 4)[:, :, None] >> np.arange(12)[::-1] & 1
    tags = [(256, 3, 60), (257, 3, 40), (258, 3, 12), (259, 3, 1), (262, 3, 1), (273, 4, 122), (277, 3, 1),
            (278, 3, 40), (279, 4, 3600)]  # fmt: skip
    table = b"".join(struct.pack("<2HII", tag, kind, 1, value) for tag, kind, value in tags)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", 9) + table + bytes(4) + np.packbits(flags.astype(np.uint8)).tobytes()


def test_nothing_is_lost_or_it_is_said(edit, tmp_path):
    place, out = tmp_path / "in", tmp_path / "out"
    planes = np.ascontiguousarray(COLOURS.transpose(2, 0, 1))
    tifffile.imwrite(place / "planar.tif", planes, photometric="rgb", planarconfig="separate")
    said = {"photometric": "rgb", "extrasamples": ["unassalpha"], "metadata": None}
    tifffile.imwrite(place / "turned.tif", RGBA, extratags=[(274, 3, 1, 6, True)], **said)
    (place / "twelve.tif").write_bytes(twelve_bits())
    tifffile.imwrite(place / "signed.tif", GREY.view(np.int16))
    (place / "key.png").write_bytes(one_bit_with_a_key())
    fourth = np.dstack([COLOURS, GREY])
    tifffile.imwrite(place / "fourth.tif", fourth, photometric="rgb", extrasamples=["unspecified"])
    (place / "deep.ppm").write_bytes(b"P6\n60 40\n65535\n" + COLOURS.astype(">u2").tobytes())
    (place / "linear.png").write_bytes(png(COLOURS[:, :, ::-1], (b"gAMA", struct.pack(">I", 100_000))))
    block = b"II*\0\x08\0\0\0\x01\0\x0f\x01\x02\0\x06\0\0\0\x1a\0\0\0\0\0\0\0Caf\xc3\xa9\0"
    (place / "accents.jpg").write_bytes(jpeg((0xE1, b"Exif\0\0" + block)))
    caption = b"Photoshop 3.0\x008BIM\x04\x04\0\0\0\0\0\x0c\x1c\x02x\0\x07caption"
    (place / "caption.jpg").write_bytes(jpeg((0xED, caption), (0xFE, b"comment")))
    white = GREY.astype("<u2")
    tifffile.imwrite(place / "white.tif", white, photometric="miniswhite")

    code, lines = edit()
    assert code == 1
    assert [name for name, line in lines.items() if line["status"] == "failed"] == ["signed.tif"]
    assert "signed numbers" in lines["signed.tif"]["error"]
    assert np.array_equal(tifffile.imread(out / "planar.tif"), COLOURS)
    assert np.array_equal(tifffile.imread(out / "turned.tif"), np.rot90(RGBA, -1))
    expected = np.floor((GREY >> 4) * (65_535 / 4095) + 0.5).astype(np.uint16)
    assert np.array_equal(tifffile.imread(out / "twelve.tif"), expected)
    shown = cv2.imread(str(out / "key.png"), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(shown[:, :, 3], BITS * 255)
    assert np.array_equal(tifffile.imread(out / "fourth.tif"), fourth)
    assert np.array_equal(cv2.imread(str(out / "deep.png"), cv2.IMREAD_UNCHANGED)[:, :, ::-1], COLOURS)
    assert b"gAMA\x00\x01\x86\xa0" in (out / "linear.png").read_bytes()
    assert np.array_equal(cv2.imread(str(out / "linear.png"), cv2.IMREAD_UNCHANGED)[:, :, ::-1], COLOURS)
    assert block in (out / "accents.jpg").read_bytes()
    assert caption in (out / "caption.jpg").read_bytes()
    assert b"\xff\xfe\x00\x09comment" in (out / "caption.jpg").read_bytes()
    assert np.array_equal(tifffile.imread(out / "white.tif"), 65_535 - GREY)
    for name, line in lines.items():  # and training sees each of them so
        if line["status"] == "edited" and not name.endswith(".jpg"):
            written = out / line["output"].rpartition("/")[2]
            assert np.array_equal(np.asarray(reading.shown(tmp_path / "in" / name)), np.asarray(reading.shown(written)))


def test_what_another_format_cannot_take_stands_in_the_report(edit, tmp_path):
    chunks = [(b"gAMA", struct.pack(">I", 100_000)), (b"tEXt", b"Author\0Somebody")]
    (tmp_path / "in" / "linear.png").write_bytes(png(COLOURS, *chunks))
    code, lines = edit(format="jpeg")
    assert code == 0
    (place,) = [warning for warning in lines["linear.png"]["warnings"] if "no place" in warning]
    assert place == "its chunks (gAMA), texts (Author) have no place in a JPEG, left out"
    assert any("16 bits became 8" in warning for warning in lines["linear.png"]["warnings"])
