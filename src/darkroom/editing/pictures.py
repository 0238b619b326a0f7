"""Picture files in and out: pixels of 8 or 16 bits, transparency, and what else a file says.

    picture = read(path)                      # upright, grey or colours, transparency apart
    notes = write(picture, target, "png")     # sentences on what this format could not take

Nothing here knows what is done to the pixels in between.
"""

import io
import re
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageCms, JpegImagePlugin, PngImagePlugin, TiffImagePlugin, UnidentifiedImageError

from darkroom import files
from darkroom.errors import UserError

Levels = NDArray[Any]  # uint8 or uint16

ENDINGS = {
    "png": (".png",),
    "jpeg": (".jpg", ".jpeg", ".jfif", ".jpe"),
    "webp": (".webp",),
    "tiff": (".tif", ".tiff"),
}  # what is written, each by its endings, the usual one first
QUALITY = 95  # of JPEG and WebP with losses, unless told
NEVER_READ = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, Image.DecompressionBombError)

_ORIENTATION, _WIDTH, _HEIGHT = 0x0112, 0xA002, 0xA003
_EXIF_MOST = 65_533 - 6  # bytes that fit into a JPEG
_RESOLUTION = frozenset({282, 283, 296})
# How a TIFF stores its pixels, which says nothing of the picture; it stands among what does.
_STRUCTURE = frozenset(
    {254, 255, 256, 257, 258, 259, 262, 263, 264, 265, 266, 273, 277, 278, 279, 280, 281, 284}
).union({*range(288, 294), 297, 301, *range(317, 348), *range(512, 533), 700, 34675, 34377})
_STRIP = 64  # rows that a TIFF packs together
_TURNS: dict[int, Callable[..., Levels]] = {
    2: lambda levels: levels[:, ::-1],
    3: lambda levels: levels[::-1, ::-1],
    4: lambda levels: levels[::-1],
    5: lambda levels: levels.swapaxes(0, 1),
    6: lambda levels: levels.swapaxes(0, 1)[:, ::-1],
    7: lambda levels: levels[::-1, ::-1].swapaxes(0, 1),
    8: lambda levels: levels.swapaxes(0, 1)[::-1],
}  # what stands a picture up, by its EXIF orientation


@dataclass(frozen=True)
class Carried:
    """What a file says beside its pixels, and how it says them."""

    format: str = "png"
    mode: str = "RGB"  # Pillow's, with ";16" for 16 bits: what a person would call it
    lossless: bool = True
    exif: Image.Exif = field(default_factory=Image.Exif)
    icc: bytes | None = None
    dpi: tuple[float, float] | None = None
    xmp: bytes | None = None
    texts: tuple[tuple[bytes, bytes], ...] = ()  # chunks of a PNG
    subsampling: int = 0  # of colours in a JPEG, Pillow's number
    progressive: bool = False
    packed: bool = True  # a TIFF may not be


@dataclass(frozen=True)
class Picture:
    """A picture, upright: ``levels`` ``(H, W, 1 or 3)``, ``alpha`` ``(H, W)`` of the same type, uint8 or uint16."""

    levels: Levels
    alpha: Levels | None = None
    carried: Carried = field(default_factory=Carried)
    notes: tuple[str, ...] = ()  # what reading it changed, in sentences

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, as people say it."""
        return self.levels.shape[1], self.levels.shape[0]

    @property
    def most(self) -> int:
        """The level of white: 255 or 65535."""
        return int(np.iinfo(self.levels.dtype).max)


def read(path: Path) -> Picture:
    """Read a picture as it is meant to be seen, with all that it carries.

    Raises:
        UserError: it is no picture, damaged, animated, or of numbers that a picture here cannot hold.
    """
    try:
        with Image.open(path) as opened:
            return _read(opened, path)
    except NEVER_READ as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        reason = "it is no picture" if isinstance(error, UnidentifiedImageError) else reason.rstrip(".")
        raise UserError(f"{path} cannot be read ({reason}).") from None


def _read(opened: Image.Image, path: Path) -> Picture:
    kind = {"MPO": "jpeg"}.get(str(opened.format), str(opened.format).lower())
    frames = getattr(opened, "n_frames", 1)
    if frames > 1 and kind != "jpeg":
        what = "pages" if kind == "tiff" else "frames"
        raise UserError(f"{path} has {frames} {what}, and one picture is edited at a time: take the {what} apart.")
    info = {str(key): value for key, value in opened.info.items()}
    notes = ["a second picture inside the file, such as a depth map, is left out"] if frames > 1 else []
    deep = _depth(opened, kind, path) == 16
    opened.load()
    exif, xmp = _exif(opened, kind), info.get("xmp")
    turn = _TURNS.get(opened.getexif().get(_ORIENTATION, 1), np.asarray)
    mode, icc = opened.mode, info.get("icc_profile") or None
    if deep:
        levels, alpha = _deep(opened, path)
    else:
        picture = opened
        if mode == "CMYK":
            picture, icc = _from_cmyk(opened, icc)
            notes.append(f"its CMYK is converted{' by its profile' if icc else ''}, and comes out as RGB")
        levels, alpha = _shallow(picture, path)
    if alpha is None and "transparency" in info and mode in ("L", "RGB", "I;16", "I"):
        alpha = np.where((levels == np.array(info["transparency"])).all(axis=2), 0, np.iinfo(levels.dtype).max)
        alpha = alpha.astype(levels.dtype)
    carried = Carried(
        format=kind,
        mode=_named(mode, levels, alpha) if deep else mode,
        lossless=_lossless(kind, info, path),
        exif=exif,
        icc=icc,
        dpi=_dpi(info),
        xmp=_upright(xmp.encode() if isinstance(xmp, str) else xmp),
        texts=_texts(opened),
        subsampling=max(0, JpegImagePlugin.get_sampling(opened)) if kind == "jpeg" and mode != "CMYK" else 0,
        progressive=bool(info.get("progressive")),
        packed=info.get("compression") != "raw",
    )
    levels = np.ascontiguousarray(turn(levels))
    return Picture(levels, None if alpha is None else np.ascontiguousarray(turn(alpha)), carried, tuple(notes))


def _depth(opened: Image.Image, kind: str, path: Path) -> int:
    """Return how many bits a sample has in the file: Pillow takes eight of sixteen where there are several."""
    if kind == "png":
        with path.open("rb") as file:
            return file.read(25)[24]
    if kind == "tiff":
        assert isinstance(opened, TiffImagePlugin.TiffImageFile)
        depths = opened.tag_v2.get(258, (1,))
        return max(depths) if isinstance(depths, tuple) else int(depths)
    return 16 if opened.mode.startswith("I;16") else 8


def _deep(opened: Image.Image, path: Path) -> tuple[Levels, Levels | None]:
    """Return levels and transparency of 16 bits."""
    if opened.mode in ("I;16", "I;16L", "I;16B", "I"):
        grey: Levels = np.asarray(opened).astype(np.uint16)[:, :, None]
        tags = getattr(opened, "tag_v2", {})
        return (65_535 - grey if tags.get(262) == 0 else grey), None  # 0 is white in some
    import cv2

    decoded = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    if decoded is None or decoded.dtype != np.uint16:
        raise UserError(f"{path} stores 16 bits in a way that is not known here: save it as a PNG of 16 bits.")
    if decoded.ndim == 2:
        return decoded[:, :, None], None
    levels = decoded[:, :, 2::-1]
    if _is_grey(opened, path):  # OpenCV makes colours of grey with transparency
        levels = levels[:, :, :1]
    alpha = decoded[:, :, 3] if decoded.shape[2] == 4 else None
    if alpha is not None and getattr(opened, "tag_v2", {}).get(338) in (1, (1,)):  # colours times transparency
        whole = levels.astype(np.float64) * 65_535 / np.maximum(alpha, 1)[:, :, None]
        return whole.round().clip(0, 65_535).astype(np.uint16), alpha
    return levels, alpha


def _is_grey(opened: Image.Image, path: Path) -> bool:
    if opened.format == "PNG":  # which says so in its head; Pillow calls it RGBA
        with path.open("rb") as file:
            return file.read(26)[25] in (0, 4)
    return opened.mode in ("L", "LA")


def _shallow(opened: Image.Image, path: Path) -> tuple[Levels, Levels | None]:
    """Return levels and transparency of 8 bits."""
    mode = opened.mode
    if mode in ("I", "F", "LAB", "HSV"):
        raise UserError(
            f"{path} holds {'numbers of 32 bits' if mode in 'IF' else mode}, which is no picture of 8 or 16 bits:"
            " convert it first, to a PNG or TIFF of 16 bits say."
        )
    if mode in ("P", "PA"):
        see_through = mode == "PA" or "transparency" in opened.info
        opened = opened.convert("RGBA" if see_through else "RGB")
    elif mode in ("La", "LA"):
        opened = opened.convert("LA")
    elif mode in ("RGBa", "RGBA"):
        opened = opened.convert("RGBA")
    elif mode not in ("L", "RGB"):
        opened = opened.convert("L" if mode == "1" else "RGB")
    array = np.array(opened)
    if array.ndim == 2:
        return array[:, :, None], None
    if opened.mode in ("LA", "RGBA"):
        return array[:, :, :-1], array[:, :, -1]
    return array, None


def _from_cmyk(opened: Image.Image, icc: bytes | None) -> tuple[Image.Image, bytes | None]:
    """Return the colours of inks as RGB, and what describes them: sRGB when the inks were described."""
    if icc:
        wanted = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
        try:
            seen = ImageCms.profileToProfile(opened, io.BytesIO(icc), wanted, outputMode="RGB")
        except ImageCms.PyCMSError:  # not a profile of inks, or damaged: the plain conversion is what is left
            seen = None
        if seen is not None:
            return seen, wanted.tobytes()
    return opened.convert("RGB"), None


def _named(mode: str, levels: Levels, alpha: Levels | None) -> str:
    return f"{'L' if levels.shape[2] == 1 else 'RGB'}{'A' if alpha is not None else ''};16"


def _lossless(kind: str, info: dict[str, Any], path: Path) -> bool:
    """Say whether a file of this kind returns what was put in."""
    if kind == "webp":
        with path.open("rb") as file:
            head = file.read(12)
            while len(head := file.read(8)) == 8:
                if head[:4] in (b"VP8L", b"VP8 "):
                    return head[:4] == b"VP8L"
                size = int.from_bytes(head[4:], "little")
                file.seek(size + size % 2, io.SEEK_CUR)
        return False
    if kind == "tiff":
        return str(info.get("compression")) not in ("jpeg", "tiff_jpeg", "webp")
    return kind not in ("jpeg", "jpeg2000", "avif")


def _exif(opened: Image.Image, kind: str) -> Image.Exif:
    """Return what the camera wrote, without what only says how pixels were stored, and upright."""
    read, kept = opened.getexif(), Image.Exif()
    passed_over = _STRUCTURE | _RESOLUTION if kind == "tiff" else _STRUCTURE
    for tag, value in read.items():
        if tag not in passed_over and tag not in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
            kept[tag] = value
    for part in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
        if found := dict(read.get_ifd(part)):
            if ExifTags.IFD.Interop in found:
                found[ExifTags.IFD.Interop] = dict(read.get_ifd(ExifTags.IFD.Interop))
            kept[part] = found
    if _ORIENTATION in kept:
        kept[_ORIENTATION] = 1
    return kept


def _dpi(info: dict[str, Any]) -> tuple[float, float] | None:
    dpi = info.get("dpi")
    return (float(dpi[0]), float(dpi[1])) if dpi and dpi[0] > 0 and dpi[1] > 0 else None


def _upright(xmp: bytes | None) -> bytes | None:
    """Return a description in XMP with its orientation, which stands there a second time, said to be upright."""
    if xmp is None:
        return None
    xmp = re.sub(rb'(tiff:Orientation=")\d(")', rb"\g<1>1\g<2>", xmp)
    return re.sub(rb"(<tiff:Orientation>)\d(</tiff:Orientation>)", rb"\g<1>1\g<2>", xmp)


def _texts(opened: Image.Image) -> tuple[tuple[bytes, bytes], ...]:
    """Return the words that a PNG carries, such as an author, as chunks."""
    texts = getattr(opened, "text", None)
    if not texts:
        return ()
    chunks = PngImagePlugin.PngInfo()
    for key, text in texts.items():
        if key != "XML:com.adobe.xmp":
            if isinstance(text, PngImagePlugin.iTXt):
                chunks.add_itxt(key, str(text), text.lang or "", text.tkey or "")
            else:
                chunks.add_text(key, text)
    return tuple((chunk[0], chunk[1]) for chunk in chunks.chunks)


# --- out ------------------------------------------------------------------------------------------------------------


def format_of(name: str | Path) -> str | None:
    """Return which format a file's ending asks for, None when it is none that is written here."""
    ending = Path(name).suffix.lower()
    return next((kind for kind, endings in ENDINGS.items() if ending in endings), None)


def write(picture: Picture, path: Path, kind: str, quality: int | None = None) -> list[str]:
    """Write a picture as a file of a ``kind`` in `ENDINGS`, whole or not at all; return what it could not take.

    Files with losses are written with ``quality`` (1 to 100), by default 95; a WebP that came from a lossless file is
    lossless unless a quality is given.

    Raises:
        OSError: the place cannot be written.
    """
    picture, notes = _fitting(picture, kind)
    exif = _exif_bytes(picture, kind, notes)
    with files.aside(path, durable=False) as file:
        if picture.most > 255 and kind == "png":
            _write_png16(file, picture, exif)
        else:
            image = _image(picture, kind, notes) if picture.most == 255 else None
            if kind == "tiff" and (image is None or image.mode not in ("1", "P")):
                _write_tiff(file, picture)
            else:
                assert image is not None
                _write_with_pillow(file, image, picture.carried, kind, quality, exif)
    return notes


def _fitting(picture: Picture, kind: str) -> tuple[Picture, list[str]]:
    """Return the picture with what the format can hold, and what it had to leave out."""
    notes = []
    if picture.most > 255 and kind in ("jpeg", "webp"):
        notes.append(f"its 16 bits became 8: a {kind.upper()} holds no more")
        levels, alpha = ((part / 257).round().astype(np.uint8) if part is not None else None
                         for part in (picture.levels, picture.alpha))  # fmt: skip
        assert levels is not None
        picture = replace(picture, levels=levels, alpha=alpha)
    if picture.alpha is not None and kind == "jpeg":
        notes.append("its transparency was laid on white: a JPEG holds none")
        share = picture.alpha[:, :, None] / 255
        flat = (picture.levels * share + 255 * (1 - share)).round().astype(np.uint8)
        picture = replace(picture, levels=flat, alpha=None)
    if picture.most > 255 and kind == "tiff" and picture.alpha is not None and picture.levels.shape[2] == 1:
        notes.append("it comes out as RGBA: grey of 16 bits with transparency is a TIFF that hardly any program reads")
        picture = replace(picture, levels=picture.levels.repeat(3, axis=2))
    if picture.carried.lossless and kind == "jpeg":
        notes.append("its file was lossless, and a JPEG is not")
    return picture, notes


def _exif_bytes(picture: Picture, kind: str, notes: list[str]) -> bytes:
    """Return the camera's words with the size that the picture has now; empty when there are none."""
    exif = picture.carried.exif
    if not exif:
        return b""
    if isinstance(inside := exif.get(ExifTags.IFD.Exif), dict):
        exif[ExifTags.IFD.Exif] = inside | {
            tag: size for tag, size in zip((_WIDTH, _HEIGHT), picture.size, strict=True) if tag in inside
        }
    content = exif.tobytes()
    if kind == "jpeg" and len(content) > _EXIF_MOST:
        notes.append("its EXIF is too long for a JPEG and was left out")
        return b""
    return content


def _write_with_pillow(
    file: BinaryIO, image: Image.Image, carried: Carried, kind: str, quality: int | None, exif: bytes
) -> None:
    said: dict[str, Any] = {"icc_profile": carried.icc} if carried.icc else {}
    if carried.dpi and kind != "webp":
        said["dpi"] = carried.dpi
    if exif and kind != "tiff":
        said["exif"] = exif
    if carried.xmp and kind in ("jpeg", "webp"):
        said["xmp"] = carried.xmp
    if kind == "png":
        said["pnginfo"] = _png_words(carried)
        if image.mode == "P" and "transparency" in image.info:
            said["transparency"] = image.info["transparency"]
    elif kind == "jpeg":
        said |= {"quality": quality or QUALITY, "progressive": carried.progressive}
        if image.mode == "RGB":
            said["subsampling"] = carried.subsampling
    elif kind == "webp":
        if carried.lossless and quality is None:
            said |= {"lossless": True, "exact": True}
        else:
            said |= {"quality": quality or QUALITY, "exact": True}
    else:
        said["compression"] = "tiff_adobe_deflate"
        said["tiffinfo"] = _tiff_words(carried)
    if kind == "tiff":  # which is written with steps back
        buffer = io.BytesIO()
        image.save(buffer, format="TIFF", **said)
        file.write(buffer.getbuffer())
    else:
        image.save(file, format=kind.upper(), **said)


def _image(picture: Picture, kind: str, notes: list[str]) -> Image.Image:
    """Return the picture as Pillow holds it, in the mode that it came in where that is possible."""
    levels, alpha, mode = picture.levels, picture.alpha, picture.carried.mode
    if mode == "1" and kind in ("png", "tiff"):
        if levels.shape[2] == 1 and alpha is None and np.isin(levels, (0, 255)).all():
            return Image.fromarray(levels[:, :, 0]).convert("1", dither=Image.Dither.NONE)
        notes.append("it was black and white only, and comes out as grey (L), which the edit needs")
    samples = levels if alpha is None else np.dstack([levels, alpha])
    if mode == "P" and kind in ("png", "tiff"):
        indexed = _indexed(samples) if kind == "png" or alpha is None else None
        if indexed is not None:
            return indexed
        notes.append(
            f"its palette of 256 colours does not hold them all: it comes out as {'RGB' if alpha is None else 'RGBA'}"
        )
    return Image.fromarray(np.ascontiguousarray(samples[:, :, 0] if samples.shape[2] == 1 else samples))


def _indexed(samples: Levels) -> Image.Image | None:
    """Return colours ``(H, W, 3 or 4)`` by their numbers in a palette, or None when they are more than 256."""
    padded = np.full((*samples.shape[:2], 4), 255, np.uint8)
    padded[:, :, : samples.shape[2]] = samples
    found, places = np.unique(padded.view("<u4")[:, :, 0], return_inverse=True)
    if len(found) > 256:
        return None
    colours = np.ascontiguousarray(found.astype("<u4")).view(np.uint8).reshape(-1, 4)
    image = Image.fromarray(places.reshape(samples.shape[:2]).astype(np.uint8))
    image = image.copy()
    image.putpalette(colours[:, :3].tobytes())
    if samples.shape[2] == 4:
        image.info["transparency"] = colours[:, 3].tobytes()
    return image


def _png_words(carried: Carried) -> PngImagePlugin.PngInfo:
    words = PngImagePlugin.PngInfo()
    for name, content in carried.texts:
        words.add(name, content)
    if carried.xmp:
        words.add_itxt("XML:com.adobe.xmp", carried.xmp.decode("utf-8", "replace"))
    return words


def _tiff_words(carried: Carried) -> TiffImagePlugin.ImageFileDirectory_v2:
    """Return the directory of a TIFF as far as it says something of the picture."""
    words = TiffImagePlugin.ImageFileDirectory_v2()
    for tag, value in carried.exif.items():
        if not (tag in _RESOLUTION and carried.dpi):
            words[tag] = value
    if carried.xmp:
        words[700] = carried.xmp
        words.tagtype[700] = 1
    return words


def _write_png16(file: BinaryIO, picture: Picture, exif: bytes) -> None:
    """Write 16 bits a sample, which Pillow does for a single channel only."""
    carried = picture.carried
    samples = picture.levels if picture.alpha is None else np.dstack([picture.levels, picture.alpha])
    height, width, channels = samples.shape

    def chunk(name: bytes, content: bytes) -> None:
        file.write(struct.pack(">I", len(content)) + name + content)
        file.write(struct.pack(">I", zlib.crc32(name + content)))

    file.write(b"\x89PNG\r\n\x1a\n")
    chunk(b"IHDR", struct.pack(">2I5B", width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0))
    if carried.icc:
        chunk(b"iCCP", b"ICC Profile\0\0" + zlib.compress(carried.icc))
    if carried.dpi:
        chunk(b"pHYs", struct.pack(">2IB", *(round(dots / 0.0254) for dots in carried.dpi), 1))
    if exif:
        chunk(b"eXIf", exif.removeprefix(b"Exif\0\0"))
    for name, content in ((entry[0], entry[1]) for entry in _png_words(carried).chunks):
        chunk(name, content)
    packer = zlib.compressobj(6)
    above = np.zeros((1, width * channels * 2), np.uint8)
    for top in range(0, height, 64):  # each row as its difference from the one above
        rows = samples[top : top + 64].astype(">u2").reshape(-1, width * channels).view(np.uint8)
        filtered = np.full((len(rows), 1 + rows.shape[1]), 2, np.uint8)
        filtered[:, 1:] = rows - np.concatenate([above, rows[:-1]])
        above = rows[-1:]
        if packed := packer.compress(filtered.tobytes()):
            chunk(b"IDAT", packed)
    chunk(b"IDAT", packer.flush())
    chunk(b"IEND", b"")


def _write_tiff(file: BinaryIO, picture: Picture) -> None:
    """Write 8 or 16 bits a sample; Pillow writes 16 for a single channel only, and no camera's words if it packs.

    What is packed is the difference from the pixel at the left.
    """
    carried, colours = picture.carried, picture.levels.shape[2]
    samples = picture.levels if picture.alpha is None else np.dstack([picture.levels, picture.alpha])
    height, width, channels = samples.shape
    strips = []
    for top in range(0, height, _STRIP):
        rows = samples[top : top + _STRIP].astype(samples.dtype.newbyteorder("<"))
        if carried.packed:
            rows[:, 1:] -= rows[:, :-1].copy()
        strips.append(zlib.compress(rows.tobytes()) if carried.packed else rows.tobytes())
    words = _tiff_words(carried)
    words[256], words[257], words[258] = width, height, (samples.dtype.itemsize * 8,) * channels
    words[259], words[262], words[277] = 8 if carried.packed else 1, 1 if colours == 1 else 2, channels
    words[278], words[279], words[284] = _STRIP, tuple(map(len, strips)), 1
    words[317] = 2 if carried.packed else 1
    if channels > colours:
        words[338] = 2  # transparency beside the colours, which are whole
    if carried.dpi:
        words[282], words[283], words[296] = *carried.dpi, 2
    if carried.icc:
        words[34675] = carried.icc
        words.tagtype[34675] = 7
    starts = np.cumsum([0, *map(len, strips[:-1])])
    words[273] = tuple(int(start) for start in starts)
    words.tagtype[273] = words.tagtype[279] = 4  # however small they are, they are moved by what stands before
    words.save(file)
    for strip in strips:
        file.write(strip)
