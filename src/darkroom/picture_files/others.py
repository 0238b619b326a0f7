"""Pictures whose pixels Pillow decodes: JPEG, WebP, GIF, BMP, TGA, JPEG 2000, AVIF, ICO and PCX.

What Pillow would make 8 bits of more is decoded by OpenCV.
"""

import io
import struct
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
from PIL import Image, JpegImagePlugin, UnidentifiedImageError

from darkroom.picture_files import containers, directories, jpeg, limits, photoshop, xmp
from darkroom.picture_files.inks import from_inks
from darkroom.picture_files.picture import Carried, Raster, Unfit, resolution, samples_of, scaled

_FORMATS = ["JPEG", "WEBP", "GIF", "BMP", "DIB", "TGA", "JPEG2000", "AVIF", "ICO", "PCX"]
_EMBEDDED = b"DEBM"  # how a BMP says that it holds a profile


class Other:
    """A picture that Pillow has looked at."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._webp = containers.webp(data) if data[:4] == b"RIFF" and data[8:12] == b"WEBP" else None
        if self._webp is not None:
            limits.check(self._webp.size, len(data), 4)
        try:
            self._opened = Image.open(io.BytesIO(data), formats=_FORMATS)
        except UnidentifiedImageError:
            raise ValueError("it is no picture") from None
        self.kind = {"MPO": "jpeg", "DIB": "bmp"}.get(str(self._opened.format), str(self._opened.format).lower())
        self.size = self._opened.size
        self._info: dict[str, Any] = {str(key): value for key, value in self._opened.info.items()}
        self._sampling = 0

    @property
    def frames(self) -> int:
        """How many there are in an animated one; what stands beside a JPEG is none of them."""
        if self.kind == "jpeg":
            return 1
        return self._webp.frames if self._webp is not None else int(getattr(self._opened, "n_frames", 1))

    @cached_property
    def _jpeg(self) -> jpeg.Said:
        return jpeg.said(self._data)

    @cached_property
    def _jp2(self) -> containers.Jp2:
        return containers.jp2(self._data)

    @cached_property
    def _exif(self) -> bytes:
        if self.kind == "jpeg":
            return self._jpeg.exif
        if self._webp is not None:
            return self._webp.exif
        if self.kind == "jpeg2000":
            return self._jp2.exif
        if self.kind == "avif":
            return containers.avif_exif(self._data)
        return bytes(self._info.get("exif", b"")).removeprefix(b"Exif\0\0")

    @cached_property
    def _xmp(self) -> bytes | None:
        if self.kind == "jpeg":
            return self._jpeg.xmp or None
        if self._webp is not None:
            return self._webp.xmp or None
        if self.kind == "jpeg2000":
            return self._jp2.xmp or None
        found = self._info.get("xmp")
        return found.encode() if isinstance(found, str) else found

    @property
    def orientation(self) -> int:
        """How it is to be stood up."""
        if self.kind == "avif":  # which says it outside of EXIF, and Pillow inside
            return directories.orientation(bytes(self._info.get("exif", b"")).removeprefix(b"Exif\0\0"))
        if self._exif:
            return directories.orientation(self._exif)
        return xmp.orientation_of(self._xmp)

    # --- pixels ------------------------------------------------------------------------------------------------------

    def raster(self, least: int | None = None) -> Raster:
        """Decode the first frame; a JPEG at an eighth, quarter or half of its size where that is enough."""
        limits.check(self.size, len(self._data), 4)
        bits = self._bits()
        if bits > 8:
            return self._deep(bits)
        with self._opened as opened:
            if self.kind == "jpeg":
                if least is not None:
                    opened.draft(None, (least, least))
                self._sampling = max(0, JpegImagePlugin.get_sampling(opened)) if opened.mode != "CMYK" else 0
            opened.load()
            if opened.mode == "CMYK":
                levels, notes, described = from_inks(np.asarray(opened), self._icc())
                return Raster(levels, None, None, "CMYK", notes, described is not None, described)
            return _of_pillow(opened, opened.info.get("transparency"))

    def _bits(self) -> int:
        if self.kind == "jpeg2000":
            if self._jp2.bits < 8 or self._jp2.bits > 16:
                raise Unfit(f"holds samples of {self._jp2.bits} bits, which is no picture of 8 or 16 bits: convert it")
            return 16 if self._jp2.bits > 8 and b"pclr" in self._jp2.kinds else self._jp2.bits
        if self.kind == "avif":
            return containers.avif_bits(self._data)
        if self.kind == "jpeg" and self._jpeg.bits != 8:
            raise Unfit(f"is a JPEG of {self._jpeg.bits} bits, which is read nowhere here: convert it to a PNG or TIFF")
        return 8

    def _deep(self, bits: int) -> Raster:
        """Return samples of more than 8 bits, which only OpenCV decodes."""
        import cv2

        before = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # what is wrong is said by us
        try:
            decoded = cv2.imdecode(np.frombuffer(self._data, np.uint8), cv2.IMREAD_UNCHANGED)
        finally:
            cv2.utils.logging.setLogLevel(before)
        count = 1 if decoded is None or decoded.ndim == 2 else decoded.shape[2]
        if decoded is None or (self.kind == "jpeg2000" and count != self._jp2.components):
            self._opened.load()  # which says what is wrong, if something is
            raise Unfit(f"holds samples of {bits} bits in a way that is not known here: save it as a PNG of 16 bits")
        if decoded.dtype != np.uint16 or decoded.shape[1::-1] != self.size or decoded.max() >= 2**bits:
            raise ValueError(f"its {bits} bits cannot be decoded")
        samples = scaled(decoded.reshape(*decoded.shape[:2], count), 2**bits - 1)
        mode = {1: "L", 3: "RGB", 4: "RGBA"}[count] + f";{bits}"
        if count == 1:
            return Raster(samples, mode=mode)
        levels = np.ascontiguousarray(samples[:, :, 2::-1])
        return Raster(levels, samples[:, :, 3] if count == 4 else None, mode=mode)

    # --- what else it says -------------------------------------------------------------------------------------------

    def _icc(self) -> bytes | None:
        if self.kind == "jpeg":
            return self._jpeg.icc or None
        if self._webp is not None:
            return self._webp.icc or None
        if self.kind == "jpeg2000":
            return self._jp2.icc or None
        if self.kind == "bmp":
            return _profile_of_bmp(self._data)
        return self._info.get("icc_profile") or None

    def carried(self, raster: Raster) -> Carried:
        """Return what its segments, chunks or boxes say."""
        comment = self._info.get("comment")
        comments = (comment.encode() if isinstance(comment, str) else bytes(comment),) if comment else ()
        said = Carried(
            format=self.kind,
            exif=self._exif,
            icc=self._icc(),
            dpi=resolution(*(float(dots) for dots in self._info.get("dpi") or (0, 0))),
            xmp=self._xmp,
            comments=comments,
        )
        if self.kind == "jpeg":
            return self._of_jpeg(raster, said)
        if self.kind == "bmp" and _unused_of_bmp(self._data):
            raster.notes.append("its fourth byte of a pixel, which has no meaning in such a BMP, is left out")
        if self.kind == "jpeg2000":
            return replace(said, lossless=self._jp2.lossless, resources=photoshop.of_tags(b"", self._jp2.iptc))
        return replace(said, lossless=self._webp.lossless if self._webp is not None else self.kind != "avif")

    def _of_jpeg(self, raster: Raster, said: Carried) -> Carried:
        if getattr(self._opened, "n_frames", 1) > 1:
            raster.notes.append("a second picture inside the file, such as a depth map, is left out")
        if self._jpeg.others:
            names = ", ".join(dict.fromkeys(self._jpeg.others))
            raster.notes.append(f"its segments {names} are not understood and are left out")
        return replace(
            said,
            lossless=False,
            dpi=jpeg.dpi(self._jpeg.density) or said.dpi,
            density=self._jpeg.density or None,
            resources=self._jpeg.resources,
            comments=tuple(self._jpeg.comments),
            segments=tuple(self._jpeg.more_xmp),
            subsampling=self._sampling,
            progressive=bool(self._info.get("progressive")),
        )


def _of_pillow(opened: Image.Image, key: Any) -> Raster:
    """Return levels and transparency of 8 bits."""
    mode = opened.mode
    if mode not in ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX"):
        raise Unfit(f"holds {mode}, which is no picture of 8 or 16 bits here: convert it first, to a PNG say")
    if mode in ("P", "PA"):
        opened = opened.convert("RGBA" if mode == "PA" or key is not None else "RGB")
    elif mode in ("1", "RGBX"):
        opened = opened.convert("L" if mode == "1" else "RGB")
    array = samples_of(opened)
    if opened.mode in ("LA", "RGBA"):
        return Raster(array[:, :, :-1], array[:, :, -1], mode=mode)
    alpha = None
    if key is not None and mode in ("L", "RGB"):
        alpha = np.where((array == np.array(key)).all(axis=2), 0, 255).astype(np.uint8)
    return Raster(array, alpha, mode=mode)


def _unused_of_bmp(data: bytes) -> bool:
    """Say whether a BMP of four bytes a pixel holds something in the fourth, which has no meaning there."""
    (start,) = struct.unpack_from("<I", data, 10)
    bits, compression = struct.unpack_from("<HI", data, 28)
    return bits == 32 and compression == 0 and len(set(data[start + 3 :: 4])) > 1


def _profile_of_bmp(data: bytes) -> bytes | None:
    """Return the profile that the longest of the headers of a BMP can refer to."""
    if len(data) < 138 or struct.unpack_from("<I", data, 14)[0] < 124 or data[70:74] != _EMBEDDED:
        return None
    offset, length = struct.unpack_from("<2I", data, 126)
    return data[14 + offset : 14 + offset + length] or None
