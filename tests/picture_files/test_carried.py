"""What a file says beside its pixels is in what is written, to the byte, or it is said that it is not."""

import io
import struct
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from darkroom.editing import photographs
from darkroom.picture_files import directories

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
KINDS = ["png", "jpeg", "webp", "tiff"]
IPTC = b"\x1c\x02\x78\x00\x0bEin Caf\xc3\xa9!!"[:16] + b"\x1c\x02\x19\x00\x03dog"
RESOURCES = b"8BIM\x04\x04\x00\x00" + struct.pack(">I", len(IPTC)) + IPTC + b"\0" * (len(IPTC) % 2)
XMP = '<x:xmpmeta xmlns:x="adobe:ns:meta/"><dc:creator>Zoë Ångström</dc:creator></x:xmpmeta>'.encode()


def block(order, *more, orientation=1, inside=()):
    """Return EXIF with a name in letters beyond ASCII, a note of the maker, and places that refer to each other."""
    entries = [
        (0x010F, 2, "Café Zürich\0".encode()),
        (0x0112, 3, struct.pack(f"{order}H", orientation)),
        *more,
    ]
    below = [(0x927C, 7, bytes(range(40))), (0xA002, 3, struct.pack(f"{order}H", 20)), *inside]
    mark = b"II" if order == "<" else b"MM"
    start = 8 + 2 + 12 * (len(entries) + 1) + 4
    behind = b""

    def table(rows, rest, at):
        made = struct.pack(f"{order}H", len(rows))
        for tag, kind, content in sorted(rows):
            count = len(content) // {1: 1, 2: 1, 3: 2, 4: 4, 7: 1, 16: 8}[kind]
            made += struct.pack(f"{order}2HI", tag, kind, count)
            if len(content) > 4:
                made += struct.pack(f"{order}I", at + len(rest))
                rest += content + b"\0" * (len(content) % 2)
            else:
                made += content.ljust(4, b"\0")
        return made + bytes(4), rest

    sub_start = start
    inner, inner_rest = table(below, b"", sub_start + 2 + 12 * len(below) + 4)
    behind = inner + inner_rest
    entries.append((0x8769, 4, struct.pack(f"{order}I", sub_start)))
    outer, rest = table(entries, behind, start)
    return mark + struct.pack(f"{order}HI", 42, 8) + outer + rest


def noise(channels=3):
    return np.random.default_rng(0).integers(0, 256, (16, 20, channels)).astype(np.uint8)


def jpeg_segments(content):
    place, found = 2, []
    while content[place + 1] != 0xDA:
        (length,) = struct.unpack_from(">H", content, place + 2)
        found.append((content[place + 1], content[place + 4 : place + 2 + length]))
        place += 2 + length
    return found


def jpeg(path, *segments):
    buffer = io.BytesIO()
    Image.fromarray(noise()).save(buffer, "JPEG", quality=95)
    extra = b"".join(struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data for marker, data in segments)
    path.write_bytes(buffer.getvalue()[:20] + extra + buffer.getvalue()[20:])


def png(path, *chunks, deep=False):
    import cv2

    samples = noise().astype(np.uint16) * 256 + 77 if deep else noise()
    content = cv2.imencode(".png", samples)[1].tobytes()
    extra = b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )
    path.write_bytes(content[:33] + extra + content[33:])


def png_chunks(path):
    content, place, found = path.read_bytes(), 8, []
    while place < len(content):
        length, name = struct.unpack_from(">I4s", content, place)
        found.append((name, content[place + 8 : place + 8 + length]))
        place += 12 + length
    return found


def again(path, kind):
    """Read and write a file; return where it is now, and all that was said of it."""
    target = path.with_name(f"again{photographs.ENDINGS[kind][0]}")
    picture = photographs.read(path)
    return target, " | ".join([*picture.notes, *photographs.write(picture, target, kind)])


def exif_in(path):
    """Return the EXIF of a PNG, JPEG or WebP as bytes, found by its mark."""
    content = path.read_bytes()
    if path.suffix == ".png":
        return dict(png_chunks(path))[b"eXIf"]
    if path.suffix == ".jpg":
        return next(data[6:] for marker, data in jpeg_segments(content) if data.startswith(b"Exif\0\0"))
    place = content.find(b"EXIF")
    return content[place + 8 : place + 8 + int.from_bytes(content[place + 4 : place + 8], "little")]


# --- EXIF ------------------------------------------------------------------------------------------------------------


def carrier(path, content, kind):
    """Write a picture of a kind with this EXIF, without the lab."""
    if kind == "png":
        png(path, (b"eXIf", content))
    elif kind == "jpeg":
        jpeg(path, (0xE1, b"Exif\0\0" + content))
    else:
        Image.fromarray(noise()).save(path, "WEBP", lossless=True, exact=True, exif=content)


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
@pytest.mark.parametrize("source", ["png", "jpeg", "webp"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_exif_goes_on_to_the_byte(order, source, kind, tmp_path):
    content = block(order)
    carrier(tmp_path / "in.bin", content, source)
    target, _ = again(tmp_path / "in.bin", kind)
    assert exif_in(target) == content


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("source", ["png", "jpeg", "webp"])
def test_exif_becomes_tags_of_a_tiff_and_again_exif(source, order, tmp_path):
    carrier(tmp_path / "in.bin", block(order), source)
    target, notes = again(tmp_path / "in.bin", "tiff")
    assert "cannot be written" not in notes
    with tifffile.TiffFile(target) as file:
        tags = file.pages[0].tags
        assert tags[0x010F].value == "Café Zürich"
        assert tags[34665].value["MakerNote"] == bytes(range(40))
    back, _ = again(target, "jpeg")
    found, its_order = directories.parsed(exif_in(back))
    assert found.get(0x010F).content == "Café Zürich\0".encode()
    inner = {each.tag: each for each in found.get(0x8769).inside}
    assert inner[0x927C].content == bytes(range(40))
    assert inner[0xA002].whole(its_order) == (20,)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_only_orientation_and_size_change_in_exif(orientation, order, kind, tmp_path):
    before = block(order, orientation=orientation)
    jpeg(tmp_path / "in.jpg", (0xE1, b"Exif\0\0" + before))
    target, _ = again(tmp_path / "in.jpg", kind)
    assert photographs.read(target).size == ((20, 16) if orientation < 5 else (16, 20))
    if kind == "tiff":
        with tifffile.TiffFile(target) as file:
            assert file.pages[0].tags[274].value == 1
            assert file.pages[0].tags[34665].value["PixelXDimension"] == (20 if orientation < 5 else 16)
        return
    after = exif_in(target)
    assert directories.orientation(after) == 1
    changed = [place for place, (one, other) in enumerate(zip(before, after, strict=True)) if one != other]
    assert len(changed) == (orientation != 1) + (orientation >= 5)


def test_the_small_copy_inside_exif_does_not_show_what_was_there_before(tmp_path):
    first = bytearray(block("<"))
    entries = struct.unpack_from("<H", first, 8)[0]
    thumbnail = b"\xff\xd8THE PICTURE BEFORE\xff\xd9"
    place = len(first)
    struct.pack_into("<I", first, 10 + 12 * entries, place)
    second = struct.pack("<HHHIIHHII", 2, 0x0201, 4, 1, place + 30, 0x0202, 4, 1, len(thumbnail)) + bytes(4)
    jpeg(tmp_path / "in.jpg", (0xE1, b"Exif\0\0" + bytes(first) + second + thumbnail))
    target, _ = again(tmp_path / "in.jpg", "jpeg")
    assert b"THE PICTURE BEFORE" not in target.read_bytes()
    assert "Café Zürich".encode() in target.read_bytes()


@pytest.mark.parametrize("place", [0, 4, 8, 20])
def test_a_small_copy_that_is_said_to_lie_among_the_entries_takes_none_with_it(place, tmp_path):
    first = bytearray(block("<"))
    struct.pack_into("<I", first, 10 + 12 * struct.unpack_from("<H", first, 8)[0], len(first))
    second = struct.pack("<HHHIIHHII", 2, 0x0201, 4, 1, place, 0x0202, 4, 1, 10_000) + bytes(4)
    jpeg(tmp_path / "in.jpg", (0xE1, b"Exif\0\0" + bytes(first) + second))
    target, _ = again(tmp_path / "in.jpg", "jpeg")
    assert exif_in(target)[: len(block("<"))] == block("<")


@pytest.mark.parametrize("kind", KINDS)
def test_an_entry_that_cannot_be_written_is_dropped_and_named(kind, tmp_path):
    entries = [
        directories.entry(256, 3, (20,)), directories.entry(257, 3, (16,)), directories.entry(258, 3, (8, 8, 8)),
        directories.entry(262, 3, (2,)), directories.entry(277, 3, (3,)), directories.entry(278, 3, (16,)),
        directories.entry(279, 4, (960,)), directories.entry(0x010F, 2, "Café\0".encode()),
        directories.Entry(50006, 16, 1, struct.pack("<Q", 2**40)),
    ]  # fmt: skip
    length = 8 + len(directories.laid_out([*entries, directories.entry(273, 4, (0,))], "<", 8))
    table = directories.laid_out([*entries, directories.entry(273, 4, (length,))], "<", 8)
    (tmp_path / "in.tif").write_bytes(b"II*\0\x08\0\0\0" + table + noise().tobytes())
    target, notes = again(tmp_path / "in.tif", kind)
    assert notes.count("tag 50006") == 1
    assert "left out" in notes
    assert np.array_equal(photographs.read(tmp_path / "in.tif").levels, noise())
    assert "Café".encode() in target.read_bytes()


def test_damaged_exif_is_left_out_and_said(tmp_path):
    jpeg(tmp_path / "in.jpg", (0xE1, b"Exif\0\0nothing that is EXIF"))
    _, notes = again(tmp_path / "in.jpg", "jpeg")
    assert "its EXIF is damaged" in notes


# --- captions, comments, XMP -----------------------------------------------------------------------------------------


def iptc_in(path):
    """Return the IPTC record in a file as another program looks for it."""
    if path.suffix == ".tif":
        with tifffile.TiffFile(path) as file:
            found = file.pages[0].tags[33723].value
        return found if isinstance(found, bytes) else bytes(found)
    content = path.read_bytes()
    if path.suffix == ".png":
        text = next(data for name, data in png_chunks(path) if name == b"zTXt" and b"8bim" in data)
        lines = zlib.decompress(text.partition(b"\0")[2][1:]).split(b"\n")
        assert lines[1] == b"8bim"
        content = bytes.fromhex(b"".join(lines[3:]).decode())
        assert len(content) == int(lines[2])
    place = content.find(b"8BIM\x04\x04")
    return content[place + 12 : place + 12 + int.from_bytes(content[place + 8 : place + 12], "big")]


@pytest.mark.parametrize("kind", ["jpeg", "tiff", "png"])
@pytest.mark.parametrize("source", ["jpeg", "tiff", "png"])
def test_captions_are_kept(source, kind, tmp_path):
    jpeg(tmp_path / "in.jpg", (0xED, b"Photoshop 3.0\0" + RESOURCES))
    first, _ = again(tmp_path / "in.jpg", source)
    carried = first.rename(tmp_path / f"first{first.suffix}")
    target, notes = again(carried, kind)
    assert iptc_in(target) == IPTC
    assert "no place" not in notes


def test_a_caption_of_a_tiff_that_was_taken_for_numbers(tmp_path):
    padded = IPTC + bytes(-len(IPTC) % 4)
    values = np.frombuffer(padded, "<u4")
    tifffile.imwrite(tmp_path / "in.tif", noise(), photometric="rgb", extratags=[(33723, 4, len(values), values, True)])
    target, _ = again(tmp_path / "in.tif", "jpeg")
    assert iptc_in(target) == padded


@pytest.mark.parametrize("text", [b"A comment", "Ein Café".encode(), b"Caf\xe9 of Latin 1", b"first\0second"])
def test_comments_are_kept(text, tmp_path):
    jpeg(tmp_path / "in.jpg", (0xFE, text), (0xFE, b"another"))
    target, _ = again(tmp_path / "in.jpg", "jpeg")
    assert [data for marker, data in jpeg_segments(target.read_bytes()) if marker == 0xFE] == [text, b"another"]
    target, _ = again(tmp_path / "in.jpg", "png")
    texts = dict(Image.open(target).text)
    assert "Comment" in texts
    found = [data for name, data in png_chunks(target) if name in (b"tEXt", b"iTXt")]
    assert found[0].endswith(text.replace(b"\0", b""))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("source", KINDS)
def test_xmp_goes_on_to_the_byte(source, kind, tmp_path):
    jpeg(tmp_path / "in.jpg", (0xE1, b"http://ns.adobe.com/xap/1.0/\0" + XMP))
    first, _ = again(tmp_path / "in.jpg", source)
    target, _ = again(first.rename(tmp_path / f"first{first.suffix}"), kind)
    assert XMP in target.read_bytes()


def test_what_continues_xmp_is_kept_in_a_jpeg(tmp_path):
    more = b"http://ns.adobe.com/xmp/extension/\0" + b"0" * 32 + struct.pack(">2I", 4, 0) + b"more"
    jpeg(tmp_path / "in.jpg", (0xE1, b"http://ns.adobe.com/xap/1.0/\0" + XMP), (0xE1, more))
    target, _ = again(tmp_path / "in.jpg", "jpeg")
    assert more in target.read_bytes()
    _, notes = again(tmp_path / "in.jpg", "png")
    assert "second part of its XMP" in notes


# --- what colours mean -----------------------------------------------------------------------------------------------

COLOURS = {
    b"gAMA": struct.pack(">I", 100_000),
    b"cHRM": struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000),
    b"sRGB": b"\x01",
    b"cICP": bytes([9, 16, 0, 1]),
    b"mDCV": bytes(24),
    b"cLLI": bytes(8),
    b"sBIT": bytes([5, 6, 5]),
    b"bKGD": struct.pack(">3H", 1, 2, 3),
    b"tIME": struct.pack(">H5B", 2020, 1, 2, 3, 4, 5),
    b"pHYs": struct.pack(">2IB", 3, 4, 0),
    b"tEXt": b"Author\0Zo\xeb",
    b"zTXt": b"Title\0\0" + zlib.compress(b"A title"),
    b"iTXt": "Description\0\0\0de\0Beschreibung\0Ein Hund — draußen".encode(),
    b"prVt": b"of somebody",
}


@pytest.mark.parametrize("name", COLOURS)
@pytest.mark.parametrize("deep", [False, True])
def test_chunks_of_a_png_go_on_to_the_byte(name, deep, tmp_path):
    png(tmp_path / "in.png", (name, COLOURS[name]), deep=deep)
    target, notes = again(tmp_path / "in.png", "png")
    assert (name, COLOURS[name]) in png_chunks(target)
    assert notes == ""


def test_all_chunks_together_stand_where_they_must(tmp_path):
    png(tmp_path / "in.png", *COLOURS.items(), (b"iCCP", b"mine\0\0" + zlib.compress(SRGB)))
    target, _ = again(tmp_path / "in.png", "png")
    names = [name for name, _ in png_chunks(target)]
    assert set(COLOURS) | {b"iCCP"} <= set(names)
    assert names[0] == b"IHDR"
    assert names.index(b"IDAT") > max(names.index(name) for name in COLOURS)
    assert dict(png_chunks(target))[b"iCCP"].startswith(b"mine\0")
    Image.open(target).load()


@pytest.mark.parametrize("kind", ["jpeg", "webp", "tiff"])
@pytest.mark.parametrize("name", [b"gAMA", b"cHRM", b"sRGB", b"cICP", b"tEXt", b"zTXt", b"iTXt"])
def test_what_has_no_place_in_another_format_is_said(name, kind, tmp_path):
    png(tmp_path / "in.png", (name, COLOURS[name]))
    _, notes = again(tmp_path / "in.png", kind)
    word = COLOURS[name].partition(b"\0")[0].decode("latin-1") if name[1:] in (b"EXt", b"TXt") else name.decode()
    assert word in notes
    assert "no place in a " + kind.upper() in notes


@pytest.mark.parametrize("what", ["comment", "caption", "resolution"])
def test_what_has_no_place_in_a_webp_is_said(what, tmp_path):
    segments = {"comment": [(0xFE, b"A comment")], "caption": [(0xED, b"Photoshop 3.0\0" + RESOURCES)]}
    jpeg(tmp_path / "in.jpg", *segments.get(what, []))
    if what == "resolution":
        Image.fromarray(noise()).save(tmp_path / "in.jpg", dpi=(300, 300))
    _, notes = again(tmp_path / "in.jpg", "webp")
    assert what in notes


def test_segments_that_are_not_understood_are_named(tmp_path):
    jpeg(tmp_path / "in.jpg", (0xEB, b"JP\0\1signed"), (0xEC, b"Ducky"))
    _, notes = again(tmp_path / "in.jpg", "jpeg")
    assert "APP11, APP12" in notes


@pytest.mark.parametrize("source", KINDS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_profile_goes_on_to_the_byte(source, kind, tmp_path):
    big = SRGB + np.random.default_rng(0).integers(0, 256, 150_000).astype(np.uint8).tobytes()  # several segments
    big = struct.pack(">I", len(big)) + big[4:]
    Image.fromarray(noise()).save(tmp_path / "in.bin", source, icc_profile=big)
    target, _ = again(tmp_path / "in.bin", kind)
    assert Image.open(target).info["icc_profile"] == big


@pytest.mark.parametrize("density", [b"\x00\x00\x03\x00\x04", b"\x01\x00\x48\x00\x60", b"\x02\x00\x76\x00\x76"])
def test_density_of_a_jpeg_stays_in_its_unit(density, tmp_path):
    jpeg(tmp_path / "in.jpg")
    content = bytearray((tmp_path / "in.jpg").read_bytes())
    content[13:18] = density
    (tmp_path / "in.jpg").write_bytes(content)
    target, _ = again(tmp_path / "in.jpg", "jpeg")
    assert target.read_bytes()[13:18] == density


@pytest.mark.parametrize("unit", [1, 2, 3])
def test_resolution_of_a_tiff_stays_in_its_unit(unit, tmp_path):
    tifffile.imwrite(
        tmp_path / "in.tif", noise(), photometric="rgb", resolution=((3001, 7), (72, 1)), resolutionunit=unit
    )
    target, _ = again(tmp_path / "in.tif", "tiff")
    with tifffile.TiffFile(target) as file:
        assert (file.pages[0].tags[282].value, file.pages[0].tags[283].value) == ((3001, 7), (72, 1))
        assert file.pages[0].tags[296].value == unit


def test_layers_and_smaller_copies_of_a_tiff_are_left_out_and_said(tmp_path):
    with tifffile.TiffWriter(tmp_path / "in.tif") as file:
        file.write(noise(), photometric="rgb", extratags=[(37724, 7, 6, b"LAYERS", True)], metadata=None)
        file.write(noise()[::2, ::2], photometric="rgb", subfiletype=1, metadata=None)
    target, notes = again(tmp_path / "in.tif", "tiff")
    assert b"LAYERS" not in target.read_bytes()
    assert "layers" in notes
    assert "smaller copy" in notes


def test_how_tifffile_says_a_shape_does_not_go_on(tmp_path):
    planes = np.ascontiguousarray(noise().transpose(2, 0, 1))
    tifffile.imwrite(tmp_path / "in.tif", planes, photometric="rgb", planarconfig="separate")
    target, _ = again(tmp_path / "in.tif", "tiff")
    assert np.array_equal(tifffile.imread(target), noise())
    assert b"shape" not in target.read_bytes()
