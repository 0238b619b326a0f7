import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from darkroom.commands import generate


def arrays(file):
    with np.load(file, allow_pickle=False) as archive:
        return archive["images"], archive["labels"]


def test_a_folder_a_sheet_and_an_array_hold_the_same_pictures(project, typed):
    (project / "out").mkdir()
    (project / "out" / "notes.txt").write_text("mine")
    for output in ("out", "sheet.png", "all.npz"):
        code, out, err = typed(f"generate checkpoint=painter count=23 seed=5 output={output}")
        assert code == 0, err
        assert out == ""
        assert "23 pictures" in err
    images, labels = arrays("all.npz")
    assert images.shape == (23, 8, 8, 1)
    assert images.dtype == np.uint8
    assert labels.tolist() == [index % 10 for index in range(23)]
    files = sorted(file.name for file in (project / "out").glob("*.png"))
    assert files == [f"{index:06d}.png" for index in range(23)]
    for index, name in enumerate(files):
        assert np.array_equal(np.asarray(Image.open(project / "out" / name)), images[index, :, :, 0])
    assert (project / "out" / "notes.txt").read_text() == "mine"
    listed = (project / "out" / "labels.csv").read_text().splitlines()
    assert listed[:2] == ["file,label,class", "000000.png,0,0"]
    assert len(listed) == 24
    sheet = np.asarray(Image.open("sheet.png"))
    assert np.array_equal(sheet[2:50:6, 2:50:6, 0], images[0, :, :, 0])  # enlarged six times, two pixels apart


def test_picture_i_depends_on_the_seed_and_on_i_alone(project, typed):
    for name, more in {"few": "count=3 seed=5", "many": "count=300 seed=5", "other": "count=3 seed=6"}.items():
        assert typed(f"generate checkpoint=painter {more} output={name}.npz")[0] == 0
    few, many, other = (arrays(f"{name}.npz")[0] for name in ("few", "many", "other"))
    assert np.array_equal(few, many[:3])
    assert not np.array_equal(few, other)
    assert typed("generate checkpoint=painter count=3 seed=5 output=again.npz")[0] == 0
    assert np.array_equal(arrays("again.npz")[0], few)


def test_labels_and_truncation(project, typed):
    for name, more in {
        "some": "labels=[3,7]",
        "span": "labels=0-9",
        "three": "labels=3",
        "typical": "truncation=0.001",
    }.items():
        assert typed(f"generate checkpoint=painter count=20 {more} output={name}.npz")[0] == 0
    assert arrays("some.npz")[1].tolist() == [3, 7] * 10
    assert np.array_equal(arrays("span.npz")[0][3], arrays("three.npz")[0][3])
    typical = arrays("typical.npz")[0].astype(int)
    assert abs(typical[:10] - typical[10:]).max() <= 1  # without latents a class has one picture
    spread = arrays("span.npz")[0].astype(int)
    assert abs(spread[:10] - spread[10:]).max() > 1


def test_what_is_drawn_does_not_wait_in_memory(monkeypatch, tmp_path):
    class Painter:
        classes, image_shape, class_names, vocabulary = 0, (1, 4, 4), [], ()
        largest = 0

        def sample(self, indices, seed, labels, truncation):
            self.largest = max(self.largest, len(indices))
            assert labels is None
            return (indices[:, None, None, None] % 3 - 1).float().expand(-1, 1, 4, 4)

    painter = Painter()
    generate._write_array(painter, 1000, 0, None, 1.0, tmp_path / "a.npz")
    assert painter.largest == 256
    assert [info.filename for info in zipfile.ZipFile(tmp_path / "a.npz").infolist()] == ["images.npy"]
    with np.load(tmp_path / "a.npz") as archive:
        assert archive["images"][:, 0, 0, 0].tolist() == [[0, 128, 255][index % 3] for index in range(1000)]
    assert [file.name for file in tmp_path.iterdir()] == ["a.npz"]


def test_a_failure_leaves_no_half_file(tmp_path):
    class Painter:
        classes, image_shape, class_names, vocabulary = 0, (1, 4, 4), [], ()

        def sample(self, indices, seed, labels, truncation):
            if indices[0]:
                raise RuntimeError("no more")
            return torch.zeros(len(indices), 1, 4, 4)

    for write, name in ((generate._write_array, "a.npz"), (generate._write_sheet, "a.png")):
        with pytest.raises(RuntimeError, match="no more"):
            write(Painter(), 1000, 0, None, 1.0, tmp_path / name)
    assert not any(tmp_path.iterdir())


def refused(typed, line):
    code, out, err = typed(line)
    assert code == 2, err
    assert out == ""
    assert err.count("\n") == 1
    return err


def test_bad_input_is_one_sentence_and_leaves_nothing(project, typed, runs):
    (project / "folder.npz").mkdir()
    (project / "file").write_text("")
    before = sorted(project.iterdir())
    for more, fragment in {
        "output=a.jpg": "'.jpg'",
        "output=file": "is a file",
        "output=folder.npz": "is a folder",
        "output=file/below": "cannot be written",
        "count=5000 output=a.png": "too many for one sheet",
        "labels=10": "no class '10'",
        "checkpoint=namer": "is a Classifier, which draws nothing",
    }.items():
        assert fragment in refused(typed, f"generate {'' if 'checkpoint' in more else 'checkpoint=painter '}{more}")
    assert sorted(project.iterdir()) == before
    assert set(runs()) == {"painter", "namer"}


def test_a_checkpoint_is_named_in_many_ways(project, typed, runs):
    painter = runs()["painter"]
    file = painter.folder / "checkpoints" / "best.ckpt"
    drawn = []
    for name in (painter.run_id, painter.run_id[:6], "painter", "painter/best", str(file)):
        assert typed(f"generate checkpoint={name} count=4 output=a.npz")[0] == 0
        drawn.append(arrays("a.npz")[0])
    assert all(np.array_equal(images, drawn[0]) for images in drawn)
    for name in (f"{painter.run_id[:6]}/last", "painter/last", str(file.with_name("last.ckpt"))):
        assert typed(f"generate checkpoint={name} count=4 output=a.npz")[0] == 0
    assert "Classifier" in refused(typed, "generate checkpoint=latest")
    assert "Classifier" in refused(typed, "generate checkpoint=best")


def test_what_is_no_checkpoint_is_refused(project, typed, runs):
    file = runs()["painter"].folder / "checkpoints" / "best.ckpt"
    whole = file.read_bytes()
    (project / "short.ckpt").write_bytes(whole[: len(whole) // 2])
    (project / "empty.ckpt").write_bytes(b"")
    (project / "folder.ckpt").mkdir()
    import pickle

    class Bomb:
        def __reduce__(self):
            return (exec, ("open('exploded', 'w').close()",))

    (project / "pickle.ckpt").write_bytes(pickle.dumps(Bomb()))
    torch.save({"state_dict": Bomb()}, project / "bomb.ckpt")
    torch.save({"state_dict": {"a": torch.ones(1)}}, project / "foreign.ckpt")
    for name, fragment in {
        "short.ckpt": "cut short",
        "empty.ckpt": "cut short",
        "folder.ckpt": "is a folder",
        "missing.ckpt": "no checkpoint at",
        "pickle.ckpt": "more than tensors",
        "bomb.ckpt": "more than tensors",
        "foreign.ckpt": "not written by Darkroom",
        "mlruns": "is a folder",
        "nobody": "No run's id begins with 'nobody'",
    }.items():
        assert fragment in refused(typed, f"generate checkpoint={name}"), name
    assert not (project / "exploded").exists()


def test_a_checkpoint_cannot_make_the_lab_build_something_else(project, typed, runs):
    from darkroom.tracking import checkpoints

    file = runs()["painter"].folder / "checkpoints" / "best.ckpt"
    checkpoint = checkpoints.load(file)
    checkpoint["darkroom"]["config"]["model"]["generator"] = {
        "_target_": "subprocess.check_call", "args": ["touch", "exploded"]}  # fmt: skip
    checkpoints.save(project / "evil.ckpt", checkpoint)
    assert "asks for subprocess.check_call" in refused(typed, "generate checkpoint=evil.ckpt")
    assert not (project / "exploded").exists()


def test_an_ambiguous_prefix_is_refused(project, typed, runs, monkeypatch):
    from darkroom.tracking.store import Store

    record = runs()["painter"]
    monkeypatch.setattr(
        Store, "_search", lambda self, query, *rest, **more: iter([record] * 2 if "LIKE" in query else [])
    )
    assert "begins the ids of several runs" in refused(typed, "generate checkpoint=ab")


def test_without_any_run_there_is_a_hint(store, typed):
    assert "Try: darkroom train" in refused(typed, "generate")
