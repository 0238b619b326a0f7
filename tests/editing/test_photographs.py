import io
import struct
import zlib

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms, PngImagePlugin

from darkroom.editing import photographs
from darkroom.errors import UserError

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
CAMERA = 0x0110


def noise(*shape, deep=False, seed=0):
    most, kind = (65_536, np.uint16) if deep else (256, np.uint8)
    return np.random.default_rng(seed).integers(0, most, shape, dtype=kind)


def taken(orientation=1, size=(20, 16)):
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[CAMERA] = "A camera"
    exif[ExifTags.IFD.Exif] = {0x829A: 0.01, 0xA002: size[0], 0xA003: size[1]}
    exif[ExifTags.IFD.GPSInfo] = {1: "N"}
    return exif


def png16(path, samples, *chunks):
    """Write a PNG of 16 bits without the lab: rows unfiltered."""
    height, width, channels = samples.shape
    rows = np.zeros((height, 1 + width * channels * 2), np.uint8)
    rows[:, 1:] = samples.astype(">u2").reshape(height, -1).view(np.uint8)
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    parts = [(b"IHDR", struct.pack(">2I5B", width, height, 16, kind, 0, 0, 0)), *chunks]
    parts += [(b"IDAT", zlib.compress(rows.tobytes())), (b"IEND", b"")]
    content = b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in parts
    )
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)


def rewritten(path, kind, target=None, **settings):
    picture = photographs.read(path)
    target = target or path.with_name(f"again{photographs.ENDINGS[kind][0]}")
    return picture, target, photographs.write(picture, target, kind, **settings)


MODES = {
    "1": lambda: Image.fromarray(noise(16, 20)).convert("1"),
    "L": lambda: Image.fromarray(noise(16, 20)),
    "LA": lambda: Image.fromarray(noise(16, 20, 2), "LA"),
    "P": lambda: Image.fromarray(noise(16, 20, 3)).quantize(32),
    "RGB": lambda: Image.fromarray(noise(16, 20, 3)),
    "RGBA": lambda: Image.fromarray(noise(16, 20, 4)),
    "I;16": lambda: Image.fromarray(noise(16, 20, deep=True)),
}


@pytest.mark.parametrize("ending", ["png", "tif"])
@pytest.mark.parametrize("mode", MODES)
def test_what_is_not_edited_comes_back_to_the_bit_in_its_mode(mode, ending, tmp_path):
    before = MODES[mode]()
    before.save(tmp_path / f"in.{ending}")
    _, target, notes = rewritten(tmp_path / f"in.{ending}", "png" if ending == "png" else "tiff")
    after = Image.open(target)
    assert notes == []
    assert after.mode == mode
    assert after.size == (20, 16)
    seen = "RGB" if mode == "P" else mode
    assert np.array_equal(np.asarray(after.convert(seen)), np.asarray(before.convert(seen)))


def test_a_palette_with_transparency_comes_back(tmp_path):
    image = Image.fromarray(noise(16, 20) % 5)
    image.putpalette([index * 7 % 256 for index in range(15)])
    image.save(tmp_path / "in.png", transparency=bytes([0, 128, 255, 255, 255]))
    picture, target, notes = rewritten(tmp_path / "in.png", "png")
    assert set(np.unique(picture.alpha)) == {0, 128, 255}
    assert notes == []
    after, before = Image.open(target), Image.open(tmp_path / "in.png")
    assert after.mode == "P"
    assert np.array_equal(np.asarray(after.convert("RGBA")), np.asarray(before.convert("RGBA")))


@pytest.mark.parametrize("mode", ["1", "P"])
def test_what_no_longer_fits_its_mode_is_said(mode, tmp_path):
    MODES[mode]().save(tmp_path / "in.png")
    picture = photographs.read(tmp_path / "in.png")
    edited = photographs.replace(picture, levels=noise(40, 40, picture.levels.shape[2]))
    (note,) = photographs.write(edited, tmp_path / "out.png", "png")
    assert ("grey (L)" if mode == "1" else "comes out as RGB") in note
    assert Image.open(tmp_path / "out.png").mode == ("L" if mode == "1" else "RGB")


@pytest.mark.parametrize("kind", ["png", "tiff"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_sixteen_bits_stay_sixteen(channels, kind, tmp_path):
    samples = noise(70, 20, channels, deep=True)
    png16(tmp_path / "in.png", samples)
    picture, target, notes = rewritten(tmp_path / "in.png", kind)
    grey_tiff = kind == "tiff" and channels == 2
    assert len(notes) == grey_tiff
    assert picture.carried.mode == {1: "L;16", 2: "LA;16", 3: "RGB;16", 4: "RGBA;16"}[channels]
    assert np.array_equal(picture.levels, samples[:, :, : channels - 1 + channels % 2])
    again = photographs.read(target)
    assert again.levels.dtype == np.uint16
    assert np.array_equal(again.levels, picture.levels.repeat(3 if grey_tiff else 1, axis=2))
    if channels in (2, 4):
        assert np.array_equal(again.alpha, samples[:, :, -1])
    import tifffile

    if kind == "tiff" and not grey_tiff:  # as another program reads it
        read = tifffile.imread(target)
        assert np.array_equal(read.reshape(samples.shape), samples)


def test_sixteen_bits_as_opencv_writes_and_reads_them(tmp_path):
    import cv2

    colours = noise(16, 20, 3, deep=True)
    for ending, kind in (("png", "png"), ("tif", "tiff")):
        cv2.imwrite(str(tmp_path / f"in.{ending}"), colours[:, :, ::-1])
        picture, target, _ = rewritten(tmp_path / f"in.{ending}", kind)
        assert np.array_equal(picture.levels, colours)
        assert np.array_equal(cv2.imread(str(target), cv2.IMREAD_UNCHANGED)[:, :, ::-1], colours)


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp", "tiff"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_stood_up_and_says_so(orientation, kind, tmp_path):
    flat = np.kron(noise(4, 5), np.ones((8, 8), np.uint8))
    Image.fromarray(flat).save(tmp_path / "in.jpg", quality=100, exif=taken(orientation, (40, 32)))
    from PIL import ImageOps

    upright = ImageOps.exif_transpose(Image.open(tmp_path / "in.jpg"))
    picture, target, _ = rewritten(tmp_path / "in.jpg", kind)
    assert np.array_equal(picture.levels[:, :, 0], np.asarray(upright))
    after = Image.open(target)
    exif = after.getexif()
    assert exif[0x0112] == 1
    assert exif[CAMERA] == "A camera"
    inside = exif.get_ifd(ExifTags.IFD.Exif)
    assert float(inside[0x829A]) == 0.01
    assert (inside[0xA002], inside[0xA003]) == after.size == upright.size
    assert exif.get_ifd(ExifTags.IFD.GPSInfo)[1] == "N"


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("kind", ["png", "jpeg", "webp", "tiff"])
def test_profile_and_resolution_are_kept(kind, deep, tmp_path):
    if deep:
        chunks = [(b"iCCP", b"x\0\0" + zlib.compress(SRGB)), (b"pHYs", struct.pack(">2IB", 11811, 11811, 1))]
        png16(tmp_path / "in.png", noise(16, 20, 3, deep=True), *chunks)
    else:
        Image.fromarray(noise(16, 20, 3)).save(tmp_path / "in.png", icc_profile=SRGB, dpi=(300, 300))
    _, target, notes = rewritten(tmp_path / "in.png", kind)
    with Image.open(target) as after:
        assert after.info["icc_profile"] == SRGB
        if kind != "webp":  # which has no place for it
            assert after.info["dpi"][0] == pytest.approx(300, abs=0.5)
    assert any("16 bits became 8" in note for note in notes) == (deep and kind in ("jpeg", "webp"))
    second = photographs.read(target)
    photographs.write(second, tmp_path / f"second{target.suffix}", kind)
    assert photographs.read(tmp_path / f"second{target.suffix}").carried.dpi == second.carried.dpi


def test_words_of_a_png_and_xmp_are_kept_and_upright(tmp_path):
    words = PngImagePlugin.PngInfo()
    words.add_text("Author", "Someone")
    words.add_itxt("Title", "Ein Hund — draußen", "de", "Titel")
    Image.fromarray(noise(16, 20)).save(tmp_path / "in.png", pnginfo=words)
    _, target, _ = rewritten(tmp_path / "in.png", "png")
    assert dict(Image.open(target).text) == {"Author": "Someone", "Title": "Ein Hund — draußen"}
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf tiff:Orientation="6" dc:rights="mine"/></x:xmpmeta>'
    Image.fromarray(noise(16, 20)).save(tmp_path / "in.jpg", xmp=xmp)
    for kind in ("png", "jpeg", "webp", "tiff"):
        _, target, _ = rewritten(tmp_path / "in.jpg", kind)
        found = photographs.read(target).carried.xmp
        assert found is not None
        assert b'tiff:Orientation="1"' in found
        assert b"mine" in found


def test_a_jpeg_comes_back_fine_with_its_own_subsampling(tmp_path):
    smooth = np.kron(noise(4, 5, 3) // 2 + 64, np.ones((8, 8, 1), np.uint8))
    for subsampling in (0, 1, 2):
        Image.fromarray(smooth).save(tmp_path / "in.jpg", quality=80, subsampling=subsampling, progressive=True)
        picture, target, notes = rewritten(tmp_path / "in.jpg", "jpeg")
        after = Image.open(target)
        assert notes == []
        assert after.format == "JPEG"
        assert after.info.get("progressive")
        assert photographs.JpegImagePlugin.get_sampling(after) == subsampling
        coarse = Image.open(rewritten(tmp_path / "in.jpg", "jpeg", tmp_path / "coarse.jpg", quality=10)[1])
        errors = [np.abs(np.asarray(one).astype(float) - picture.levels).mean() for one in (after, coarse)]
        assert errors[0] < min(4, errors[1])
    Image.fromarray(noise(16, 20)).save(tmp_path / "grey.jpg")
    assert Image.open(rewritten(tmp_path / "grey.jpg", "jpeg")[1]).mode == "L"


def test_inks_become_colours_and_it_is_said(tmp_path):
    inks = np.zeros((16, 20, 4), np.uint8)
    inks[:, :10, 1:3] = 255  # magenta and yellow: red
    Image.fromarray(inks, "CMYK").save(tmp_path / "in.jpg", quality=100)
    picture, target, _ = rewritten(tmp_path / "in.jpg", "jpeg")
    assert any("CMYK" in note and "RGB" in note for note in picture.notes)
    after = np.asarray(Image.open(target)).astype(int)
    assert np.abs(after[8, 4] - [255, 0, 0]).max() < 6
    assert np.abs(after[8, 15] - 255).max() < 6
    Image.fromarray(inks, "CMYK").save(tmp_path / "odd.jpg", icc_profile=SRGB)  # a profile that is none of inks
    assert photographs.read(tmp_path / "odd.jpg").carried.icc is None


def test_a_webp_without_losses_stays_so_and_keeps_what_is_hidden(tmp_path):
    colours = noise(16, 20, 4)
    colours[:, :10, 3] = 0
    Image.fromarray(colours).save(tmp_path / "in.webp", lossless=True, exact=True)
    picture, target, _ = rewritten(tmp_path / "in.webp", "webp")
    assert picture.carried.lossless
    assert np.array_equal(np.asarray(Image.open(target)), colours)
    Image.fromarray(colours[:, :, :3]).save(tmp_path / "lossy.webp", quality=50)
    assert not photographs.read(tmp_path / "lossy.webp").carried.lossless
    assert not photographs.read(
        rewritten(tmp_path / "in.webp", "webp", tmp_path / "b.webp", quality=80)[1]
    ).carried.lossless


def test_losing_something_is_said(tmp_path):
    colours = noise(16, 20, 4)
    colours[:, :10, 3], colours[:, 10:, 3] = 0, 255
    Image.fromarray(colours).save(tmp_path / "in.png")
    _, target, notes = rewritten(tmp_path / "in.png", "jpeg", quality=100)
    assert any("transparency" in note for note in notes)
    assert any("lossless" in note for note in notes)
    assert np.asarray(Image.open(target))[:, :8].min() > 240  # on white


def test_a_single_transparent_colour_is_transparent(tmp_path):
    grey = noise(16, 20) // 64
    Image.fromarray(grey).save(tmp_path / "in.png", transparency=2)
    assert np.array_equal(photographs.read(tmp_path / "in.png").alpha == 0, grey == 2)
    png16(
        tmp_path / "deep.png", grey[:, :, None].repeat(3, 2).astype(np.uint16), (b"tRNS", struct.pack(">3H", 2, 2, 2))
    )
    deep = photographs.read(tmp_path / "deep.png")
    assert deep.levels.max() == 3
    assert np.array_equal(deep.alpha == 0, grey == 2)


@pytest.mark.parametrize("ending", ["gif", "webp", "png", "tif"])
def test_films_are_refused(ending, tmp_path):
    first, *others = (Image.fromarray(noise(16, 20, 3, seed=seed)) for seed in range(3))
    first.save(tmp_path / f"in.{ending}", save_all=True, append_images=others)
    with pytest.raises(UserError, match=r"has 3 (frames|pages), and one picture"):
        photographs.read(tmp_path / f"in.{ending}")


def test_what_is_no_picture_is_named_with_the_reason(tmp_path):
    Image.fromarray(noise(64, 64, 3)).save(tmp_path / "whole.png")
    Image.fromarray(noise(64, 64, 3)).save(tmp_path / "whole.jpg")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:3000])
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:1500])
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "empty.png").write_bytes(b"")
    png16(tmp_path / "deep.png", noise(64, 64, 3, deep=True))
    (tmp_path / "cut16.png").write_bytes((tmp_path / "deep.png").read_bytes()[:9000])
    for name in ("cut.png", "cut.jpg", "text.png", "empty.png", "cut16.png", "nothing.png"):
        with pytest.raises(UserError, match=f"{name} cannot be read"):
            photographs.read(tmp_path / name)
    Image.fromarray(np.ones((16, 20), np.float32)).save(tmp_path / "float.tif")
    with pytest.raises(UserError, match="numbers of 32 bits"):
        photographs.read(tmp_path / "float.tif")


def test_an_interrupted_write_leaves_what_was_there(tmp_path, monkeypatch):
    Image.fromarray(noise(16, 20, 3)).save(tmp_path / "in.png")
    picture = photographs.read(tmp_path / "in.png")
    (tmp_path / "out.png").write_bytes(b"before")

    def interrupted(self, file, *_, **__):
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(Image.Image, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        photographs.write(picture, tmp_path / "out.png", "png")
    assert (tmp_path / "out.png").read_bytes() == b"before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.png", "out.png"]


def test_a_bitmap_is_read(tmp_path):
    colours = noise(16, 20, 3)
    buffer = io.BytesIO()
    Image.fromarray(colours).save(buffer, "BMP")
    (tmp_path / "in.bmp").write_bytes(buffer.getvalue())
    assert np.array_equal(photographs.read(tmp_path / "in.bmp").levels, colours)
    assert photographs.format_of("in.bmp") is None
    assert photographs.format_of("A.JPG") == "jpeg"
