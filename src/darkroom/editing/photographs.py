"""Picture files in and out: pixels of 8 or 16 bits, transparency, and what else a file says.

    picture = read(path)                      # upright, grey or colours, transparency apart
    notes = write(picture, target, "png")     # sentences on what this format could not take

Nothing here knows what is done to the pixels in between. Reading is done in `darkroom.picture_files`, which training
reads with too.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, JpegImagePlugin

from darkroom import files
from darkroom.errors import UserError
from darkroom.picture_files import directories, jpeg, png_writing, tiff_writing
from darkroom.picture_files.photoshop import caption
from darkroom.picture_files.picture import Carried, Levels, Picture, UnreadablePicture, eight_bits
from darkroom.picture_files.reading import on_white, read
from darkroom.picture_files.tiff_writing import Form

__all__ = [
    "ENDINGS",
    "QUALITY",
    "Carried",
    "JpegImagePlugin",
    "Levels",
    "Picture",
    "UnreadablePicture",
    "format_of",
    "read",
    "replace",
    "write",
]

ENDINGS = {
    "png": (".png",),
    "jpeg": (".jpg", ".jpeg", ".jfif", ".jpe"),
    "webp": (".webp",),
    "tiff": (".tif", ".tiff"),
}  # what is written, each by its endings, the usual one first
QUALITY = 95  # of JPEG and WebP with losses, unless told

_EXIF_MOST = jpeg.MOST - len(jpeg.EXIF)  # bytes that fit into a JPEG
MOST_SIDE = {"webp": 16_383, "jpeg": 65_500}  # pixels that a format can hold, or that its library writes
_PNG_HEADER, _JPEG_HEADER = 33, 20  # bytes before the place where what a picture carries is put in
_JFIF_DENSITY = slice(13, 18)


def format_of(name: str | Path) -> str | None:
    """Return which format a file's ending asks for, None when it is none that is written here."""
    ending = Path(name).suffix.lower()
    return next((kind for kind, endings in ENDINGS.items() if ending in endings), None)


def write(picture: Picture, path: Path, kind: str, quality: int | None = None) -> list[str]:
    """Write a picture as a file of a ``kind`` in `ENDINGS`, whole or not at all; return what it could not take.

    Files with losses are written with ``quality`` (1 to 100), by default 95; a WebP that came from a lossless file is
    lossless unless a quality is given.

    Raises:
        UserError: it has more pixels a side than the format can count.
        OSError: the place cannot be written.
    """
    if max(picture.size) > (most := MOST_SIDE.get(kind, max(picture.size))):
        width, height = picture.size
        raise UserError(
            f"{path} would have {width}x{height} pixels, and a {kind.upper()} has at most {most} a side: type"
            " format=png or format=tiff."
        )
    picture, notes = _fitting(picture, kind)
    notes += _left_out(picture, kind)
    exif = _exif(picture, kind, notes)
    carried = replace(picture.carried, exif=exif)
    form = _form(picture, kind, notes)
    with files.atomic_file(path, durable=False) as file:
        if kind == "tiff":
            if lost := tiff_writing.write(file, form, carried):
                notes.append(f"what it says under {', '.join(lost)} cannot be written and is left out")
        elif kind == "png":
            _write_png(file, form, carried, exif)
        elif kind == "jpeg":
            _write_jpeg(file, form, carried, quality, notes)
        else:
            _write_webp(file, form, carried, quality)
    return notes


def _fitting(picture: Picture, kind: str) -> tuple[Picture, list[str]]:
    """Return the picture with what the format can hold of its pixels, and what it had to leave out."""
    notes = []
    if picture.most > 255 and kind in ("jpeg", "webp"):
        bits = picture.carried.mode.rpartition(";")[2]
        bits = bits if bits.isdigit() else "16"
        notes.append(f"its {bits} bits became 8: a {kind.upper()} holds no more")
        alpha = None if picture.alpha is None else eight_bits(picture.alpha)
        picture = replace(picture, levels=eight_bits(picture.levels), alpha=alpha)
    elif picture.most > 255 and (bits := picture.carried.mode.rpartition(";")[2]).isdigit() and bits != "16":
        notes.append(f"its {bits} bits come out on 16")
    if picture.alpha is not None and kind == "jpeg":
        notes.append("its transparency was laid on white: a JPEG holds none")
        picture = replace(picture, levels=on_white(picture.levels, picture.alpha), alpha=None)
    if picture.most > 255 and kind == "tiff" and picture.alpha is not None and picture.levels.shape[2] == 1:
        notes.append("it comes out as RGBA: grey of 16 bits with transparency is a TIFF that hardly any program reads")
        picture = replace(picture, levels=picture.levels.repeat(3, axis=2))
    if picture.extra is not None and (kind != "tiff" or picture.extra.shape[:2] != picture.levels.shape[:2]):
        where = "a picture of another size" if kind == "tiff" else f"a {kind.upper()}"
        notes.append(f"its samples that are neither colour nor transparency have no place in {where} and are left out")
        picture = replace(picture, extra=None)
    if picture.carried.lossless and kind == "jpeg":
        notes.append("its file was lossless, and a JPEG is not")
    return picture, notes


def _left_out(picture: Picture, kind: str) -> list[str]:
    """Return, as one sentence, what a picture carries and the format has no place for."""
    carried, lost = picture.carried, []
    meaning = [name.decode("latin-1") for name, _ in carried.chunks if name != b"iCCP"]
    if kind != "png":
        if meaning:
            lost.append(f"chunks ({', '.join(dict.fromkeys(meaning))})")
        words = [content.partition(b"\0")[0].decode("latin-1") for _, content in carried.texts]
        words = [word for word in words if not (carried.resources and word.startswith("Raw profile type "))]
        if words:
            lost.append(f"texts ({', '.join(dict.fromkeys(words))})")
    elif not _same_layout(picture) and (odd := sorted({"sBIT", "bKGD"} & set(meaning))):
        lost.append(f"chunks ({', '.join(odd)})")
    if kind != "jpeg" and carried.segments:
        lost.append("second part of its XMP")
    if kind in ("webp", "tiff") and carried.comments:
        lost.append("comments")
    if kind == "webp":
        if carried.resources:
            lost.append("IPTC caption" if caption(carried.resources) else "Photoshop resources")
        if carried.dpi:
            lost.append("resolution")
    return [f"its {', '.join(lost)} {'has' if len(lost) == 1 and not lost[0].endswith(('s', ')')) else 'have'} no place"
            f" in a {kind.upper()}, left out"] if lost else []  # fmt: skip


def _same_layout(picture: Picture) -> bool:
    """Say whether a PNG read would be written with the channels and the depth that it had."""
    grey = "L" if picture.levels.shape[2] == 1 else "RGB"
    layout = f"{grey}{'A' if picture.alpha is not None else ''}{';16' if picture.most > 255 else ''}"
    return picture.carried.mode == layout


def _exif(picture: Picture, kind: str, notes: list[str]) -> bytes:
    """Return the camera's words with the size that the picture has now; empty when there are none."""
    if not picture.carried.exif:
        return b""
    content = directories.of_size(picture.carried.exif, picture.size)
    if kind == "jpeg" and len(content) > _EXIF_MOST:
        notes.append("its EXIF is too long for a JPEG and was left out")
        return b""
    return content


# --- pixels ----------------------------------------------------------------------------------------------------------


def _form(picture: Picture, kind: str, notes: list[str]) -> Form:
    """Return the pixels in the mode that they came in where that is possible."""
    levels, alpha, mode = picture.levels, picture.alpha, picture.carried.mode
    parts = [part for part in (levels, alpha, picture.extra) if part is not None]
    samples = levels if len(parts) == 1 else np.dstack(parts)
    form = Form(samples, levels.shape[2], alpha is not None)
    if picture.most > 255 or kind not in ("png", "tiff"):
        return form
    if mode == "1":
        if samples.shape[2] == 1 and np.isin(levels, (0, 255)).all():
            return replace(form, one_bit=True)
        what = "grey with transparency (LA)" if alpha is not None else "grey (L), which the edit needs"
        notes.append(f"it was black and white only, and comes out as {what}")
    if mode == "P" and picture.extra is None:
        indexed = _indexed(form) if kind == "png" or alpha is None else None
        if indexed is not None:
            return indexed
        notes.append(
            f"its palette of 256 colours does not hold them all: it comes out as {'RGB' if alpha is None else 'RGBA'}"
        )
    return form


def _indexed(form: Form) -> Form | None:
    """Return colours ``(H, W, 3 or 4)`` by their numbers in a palette, or None when they are more than 256."""
    padded = np.full((*form.samples.shape[:2], 4), 255, np.uint8)
    padded[:, :, : form.samples.shape[2]] = form.samples
    found, places = np.unique(padded.view("<u4")[:, :, 0], return_inverse=True)
    if len(found) > 256:
        return None
    palette = np.zeros((256, 4), np.uint8)
    palette[: len(found)] = np.ascontiguousarray(found.astype("<u4")).view(np.uint8).reshape(-1, 4)
    numbers = places.reshape(form.samples.shape[:2]).astype(np.uint8)
    return Form(numbers[:, :, None], 1, form.alpha, palette if form.alpha else palette[:, :3])


def _image(form: Form) -> Image.Image:
    """Return pixels as Pillow holds them."""
    samples = np.ascontiguousarray(form.samples[:, :, 0] if form.samples.shape[2] == 1 else form.samples)
    image = Image.fromarray(samples)
    if form.one_bit:
        return image.convert("1", dither=Image.Dither.NONE)
    if form.palette is not None:
        used = int(samples.max()) + 1
        image = image.copy()
        image.putpalette(form.palette[:used, :3].tobytes())
        if form.alpha:
            image.info["transparency"] = form.palette[:used, 3].tobytes()
    return image


# --- files -----------------------------------------------------------------------------------------------------------


class _Inserting:
    """A file that gets more bytes at one place than are written to it; those before may be changed."""

    def __init__(self, file: BinaryIO, place: int, content: bytes, density: bytes = b"") -> None:
        self._file, self._place, self._content, self._density = file, place, content, density
        self._start = bytearray()
        self._inserted = False

    def write(self, some: bytes) -> int:
        """Write, and put in what is to be put in when its place has come."""
        if self._inserted:
            return self._file.write(some)
        self._start += some
        if len(self._start) >= self._place:
            if self._density:
                self._start[_JFIF_DENSITY] = self._density
            self._file.write(bytes(self._start[: self._place]) + self._content + bytes(self._start[self._place :]))
            self._inserted = True
        return len(some)

    def flush(self) -> None:
        """Pass on what has been written."""
        self._file.flush()


def _write_png(file: BinaryIO, form: Form, carried: Carried, exif: bytes) -> None:
    grey, colours = form.colours == 1, "L" if form.colours == 1 else "RGB"
    layout = f"{colours}{'A' if form.alpha else ''}{';16' if form.samples.dtype == np.uint16 else ''}"
    same = form.palette is None and carried.mode == layout
    chunks = png_writing.carried_chunks(carried, exif, same or (form.one_bit and grey))
    if form.samples.dtype == np.uint16:
        png_writing.write_deep(file, form.samples, chunks)
        return
    image = _image(form)
    said: dict[str, Any] = {}
    if "transparency" in image.info:
        said["transparency"] = image.info["transparency"]
    image.save(_Inserting(file, _PNG_HEADER, chunks), format="PNG", **said)  # type: ignore[arg-type]


def _write_jpeg(file: BinaryIO, form: Form, carried: Carried, quality: int | None, notes: list[str]) -> None:
    image = _image(form)
    said: dict[str, Any] = {"quality": quality or QUALITY, "progressive": carried.progressive}
    if carried.dpi:
        said["dpi"] = carried.dpi
    if image.mode == "RGB":
        said["subsampling"] = carried.subsampling
    xmp = [jpeg.XMP + carried.xmp] if carried.xmp else []
    if xmp and len(xmp[0]) > jpeg.MOST:
        notes.append("its XMP is too long for a JPEG and was left out")
        xmp = []
    elif xmp:
        xmp += carried.segments
    segments = jpeg.written(carried.exif, xmp, carried.icc or b"", carried.resources, carried.comments)
    density = carried.density if carried.format == "jpeg" and carried.density else b""
    image.save(_Inserting(file, _JPEG_HEADER, segments, density), format="JPEG", **said)  # type: ignore[arg-type]


def _write_webp(file: BinaryIO, form: Form, carried: Carried, quality: int | None) -> None:
    said: dict[str, Any] = {"exact": True}
    if carried.icc:
        said["icc_profile"] = carried.icc
    if carried.exif:
        said["exif"] = carried.exif
    if carried.xmp:
        said["xmp"] = carried.xmp
    if carried.lossless and quality is None:
        said["lossless"] = True
    else:
        said["quality"] = quality or QUALITY
    _image(form).save(file, format="WEBP", **said)
