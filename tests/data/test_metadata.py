import logging

import numpy as np
import pytest
import torch
from PIL import Image

from darkroom.data.digits import Digits
from darkroom.data.folder import Folder
from darkroom.data.module import ImageData
from darkroom.data.pictures import FilePictures
from darkroom.data.shapes import Shapes
from darkroom.errors import UserError


@pytest.fixture
def heap(tmp_path):
    """Writes grey pictures whose level spells their number: `heap({"cat/0.png": 0, ...})`."""

    def written(numbers, root="heap"):
        for name, number in numbers.items():
            path = tmp_path / root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((8, 8), number, dtype=np.uint8)).save(path)
        return tmp_path / root

    return written


@pytest.fixture
def make(tmp_path):
    def made(source, **options):
        data = ImageData(source, **options)
        data.locate(tmp_path, tmp_path / "cache")
        return data

    return made


def levels(data, split):
    pictures = data.pictures(split)
    return pictures.batch(torch.arange(len(pictures)))[:, 0, 0, 0].tolist()


def groups(data, column, split):
    names, codes = data.groups(column, split)
    assert codes.dtype == torch.int64
    assert len(codes) == len(data.pictures(split))
    return [names[code] for code in codes.tolist()]


CAMERAS = ("old", "new", "borrowed")


def camera(number):
    return CAMERAS[number % 3]


def filled(heap, count=60, damaged=()):
    """A folder of two classes in which picture n has level n and was taken with camera n % 3."""
    root = heap({f"{'cat' if n % 2 else 'dog'}/{n}.png": n for n in range(count)})
    for number in damaged:
        next(root.rglob(f"{number}.png")).write_bytes(b"no picture")
    rows = [f"{'cat' if n % 2 else 'dog'}/{n}.png,{camera(n)},{n // 10}" for n in reversed(range(count))]
    (root / "metadata.csv").write_text("\n".join(["file_name,camera,age", *rows]))
    return root


@pytest.mark.parametrize("in_memory_mb", [100, 0])
def test_groups_stay_with_their_pictures_through_damage_splits_and_limit(heap, make, in_memory_mb):
    filled(heap, damaged=(3, 4, 31))
    data = make(Folder("heap", max_corrupt=0.2, in_memory_mb=in_memory_mb), image_size=8, limit=20)
    assert isinstance(data.pictures("test"), FilePictures) == (in_memory_mb == 0)
    assert data.columns == ["label", "camera", "age"]
    assert len(data.pictures("train")) == 20
    for split in ("train", "val", "test"):
        seen = levels(data, split)
        assert groups(data, "camera", split) == [camera(level) for level in seen]
        assert groups(data, "age", split) == [str(level // 10) for level in seen]
        assert groups(data, "label", split) == ["cat" if level % 2 else "dog" for level in seen]
    assert data.groups("age", "val")[0] == ["0", "1", "2", "3", "4", "5"]  # also those that val lacks


def test_groups_change_no_digest(heap, make):
    root = filled(heap)
    before = make(Folder("heap"), image_size=8).digest
    (root / "metadata.csv").unlink()
    assert make(Folder("heap"), image_size=8).digest == before


def test_tables_in_split_folders(heap, make):
    root = heap({f"{split}/{kind}/{n + shift}.png": n + shift for n in range(8) for kind, split, shift in
                 (("a", "train", 0), ("b", "train", 10), ("a", "test", 20), ("b", "test", 30))})  # fmt: skip
    (root / "train" / "metadata.csv").write_text("path,light\na/0.png,day\n./a/1.png , night\nb\\10.png,day\n")
    (root / "test" / "metadata.csv").write_text("\ufefffile_name,light\na/20.png,night\nb/30.png,\n\n")
    data = make(Folder("heap"), image_size=8)
    found = dict(zip(levels(data, "test"), groups(data, "light", "test"), strict=True))
    assert found[20] == "night"
    assert {found[level] for level in found if level != 20} == {"not stated"}
    both = {**dict(zip(levels(data, "train"), groups(data, "light", "train"), strict=True)),
            **dict(zip(levels(data, "val"), groups(data, "light", "val"), strict=True))}  # fmt: skip
    assert (both[0], both[1], both[10], both[2]) == ("day", "night", "day", "not stated")
    assert data.groups("light", "test")[0] == ["day", "night", "not stated"]


def test_the_column_of_paths_is_known_by_its_name_wherever_it_stands(heap, make):
    root = heap({f"{n}.png": n for n in range(12)})
    rows = [f"{n % 2},{n}.png" for n in range(12)]
    (root / "metadata.csv").write_text("\n".join(["night,file_name", *rows]))
    data = make(Folder("heap"), image_size=8)
    assert data.columns == ["night"]
    assert groups(data, "night", "train") == [str(level % 2) for level in levels(data, "train")]


@pytest.mark.parametrize(
    ("table", "fragment"),
    [
        ("file_name,camera\nelsewhere/1.png,old\n", "names no picture that is there ('elsewhere/1.png', for one)"),
        ("file_name\ncat/1.png\n", "begins with 'file_name'"),
        ("", "begins with ''"),
        ("file_name,camera,camera\ncat/1.png,a,b\n", "with the same name"),
        ("file_name,camera\ncat/1.png,old,5\n", "line 2: 3 cells where the header has 2"),
        ("file_name,camera\ncat/1.png,old\ncat/1.png,new\n", "has camera 'new' here and 'old' in another row"),
        (b"file_name,camera\ncat/1.png,\xff\xfe\n", "save it as CSV in UTF-8"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_when_it_is_asked_for(heap, make, table, fragment):
    root = filled(heap, 20)
    (root / "metadata.csv").write_bytes(table if isinstance(table, bytes) else table.encode())
    data = make(Folder("heap"), image_size=8)
    data.prepare()  # a stranger's table keeps nobody from training
    with pytest.raises(UserError) as error:
        data.groups("camera", "test")
    assert fragment in str(error.value)


def test_rows_of_pictures_that_are_gone_are_passed_over_with_a_warning(heap, make, caplog):
    root = filled(heap, 20)
    with (root / "metadata.csv").open("a") as table:
        table.write("\ncat/gone.png,old,3\n")
    with caplog.at_level(logging.WARNING):
        make(Folder("heap"), image_size=8).groups("camera", "test")
    assert "1 rows name no picture that is there, 'cat/gone.png' for one" in caplog.text


def test_an_unknown_column_is_refused_with_what_there_is(heap, make, tmp_path):
    filled(heap, 20)
    with pytest.raises(UserError, match=r"'camra'.*did you mean 'camera'.*groups=<one of label, camera, age>"):
        make(Folder("heap"), image_size=8).groups("camra", "test")
    with pytest.raises(UserError, match="groups=<one of label>"):
        make(Digits()).groups("camera", "test")
    heap({f"{n}.png": n for n in range(12)}, root="loose")
    with pytest.raises(UserError, match=r"nothing is said of them.*metadata\.csv"):
        make(Folder("loose"), image_size=8).groups("label", "test")
    with pytest.raises(UserError, match="there is no split 'tset'"):
        make(Digits()).groups("label", "tset")


def test_shapes_are_grouped_by_what_they_show(make):
    source = Shapes(train=60, val=20, test=40, hold_out=[{"colour": "red"}])
    data = make(source, limit=30, image_size=8)
    assert data.columns == ["label", "shape", "colour", "size", "position", "combination"]
    assert set(groups(data, "combination", "train")) == {"seen"}
    assert set(groups(data, "combination", "test")) == {"seen", "held out"}
    for split in ("train", "val", "test"):
        for column in ("shape", "colour", "size", "position"):
            expected = [source.attributes(number)[column] for number in data.pictures(split).numbers.tolist()]
            assert groups(data, column, split) == expected
        assert groups(data, "shape", split) == groups(data, "label", split)
    assert "red" not in groups(data, "colour", "train")
    assert "red" in data.groups("colour", "train")[0]


NUMBERS = ("one", "two", "three")


def test_captions_stay_with_their_pictures_and_ride_along_when_wanted(heap, make):
    root = filled(heap, 20)
    assert make(Folder("heap"), image_size=8).captions("train") == []
    rows = [f"{'cat' if n % 2 else 'dog'}/{n}.png,Picture {NUMBERS[n % 3]}!" for n in range(20)]
    (root / "metadata.csv").write_text("\n".join(["file_name,caption", *rows]))
    data = make(Folder("heap"), image_size=8, batch_size=4)
    for split in ("train", "val", "test"):
        wanted = [f"Picture {NUMBERS[level % 3]}!" for level in levels(data, split)]
        assert data.captions(split) == wanted
    assert data.vocabulary == ["one", "picture", "three", "two"]
    assert "captions" not in next(iter(data.train_dataloader()))
    data.captioned = True
    batch = next(iter(data.train_dataloader()))
    assert batch["captions"][:, 0].tolist() == [2] * 4
    assert batch["captions"][:, 1].tolist() == [[1, 4, 3][level % 3] for level in batch["images"][:, 0, 0, 0].tolist()]
