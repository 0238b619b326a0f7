import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from darkroom.editing.editor import Editor
from darkroom.operations import known, working
from darkroom.tracking import tag


def darker(colours, mask):
    return colours - 0.02


def save(path, *shape, seed=0, **settings):
    path.parent.mkdir(parents=True, exist_ok=True)
    levels = np.random.default_rng(seed).integers(30, 226, shape or (16, 20, 3), dtype=np.uint8)
    Image.fromarray(levels).save(path, **settings)
    return levels


def read(path):
    return np.asarray(Image.open(path))


def written(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_file_becomes_a_file(place, edit):
    before = save(place / "a.png")
    code, out, err = edit("input=a.png output=b.png")
    assert (code, out) == (0, ""), err
    assert "b.png" in err
    assert np.abs(read("b.png") - before.astype(int) + 2.55).max() <= 0.5
    assert np.array_equal(read("a.png"), before)
    assert edit("input=a.png")[0] == 0
    assert np.array_equal(read("edited.png"), read("b.png"))
    assert edit("input=a.png output=folder")[0] == 0
    assert written(place / "folder") == ["a.png"]


def test_a_folder_is_mirrored_and_a_pattern_too(place, edit):
    for name in ("a.png", "inner/b.jpg", "inner/deep/c.tif", "d.bmp"):
        save(place / "in" / name)
    (place / "in" / "notes.txt").write_text("no picture")
    code, _, err = edit("input=in output=out")
    assert code == 0, err
    assert written(place / "out") == ["a.png", "d.png", "inner/b.jpg", "inner/deep/c.tif"]
    assert "4 pictures: 4 edited, in out" in err
    assert edit("input='in/**/*.jpg' output=some")[0] == 0
    assert written(place / "some") == ["inner/b.jpg"]
    assert edit("input=in output=tiffs format=tiff")[0] == 0
    assert written(place / "tiffs") == ["a.tif", "d.tif", "inner/b.tif", "inner/deep/c.tif"]


def test_results_inside_the_input_are_not_edited_again(place, edit):
    save(place / "in/a.png")
    for _ in range(2):
        assert edit("input=in output=in/out overwrite=true compare=true")[0] == 0
    assert written(place / "in") == ["a.png", "out/a.png", "out/a.png.compare.png"]
    save(place / "beside/a.png")
    for _ in range(2):
        assert edit("input=beside output=beside suffix=_clean overwrite=true")[0] == 0
    assert written(place / "beside") == ["a.png", "a_clean.png"]


def test_an_interrupted_call_goes_on(place, edit):
    for name in "abc":
        save(place / f"in/{name}.png")
    seen = []

    def until_the_second(colours, mask):
        seen.append(1)
        if len(seen) == 2:
            raise KeyboardInterrupt
        return darker(colours, mask)

    code, _, _ = edit("input=in output=out report=log.jsonl", Editor(until_the_second))
    assert code == 130
    assert written(place / "out") == ["a.png"]
    first = (place / "out/a.png").read_bytes()
    code, _, err = edit("input=in output=out")
    assert code == 2
    assert "type skip_existing=true" in err
    code, _, err = edit("input=in output=out skip_existing=true report=log.jsonl")
    assert code == 0
    assert "2 edited, 1 skipped" in err
    assert written(place / "out") == ["a.png", "b.png", "c.png"]
    assert (place / "out/a.png").read_bytes() == first
    lines = [json.loads(line) for line in (place / "log.jsonl").read_text().splitlines()]
    assert [(line["file"], line["status"]) for line in lines] == [
        ("in/a.png", "edited"),
        ("in/a.png", "skipped"),
        ("in/b.png", "edited"),
        ("in/c.png", "edited"),
    ]


def test_a_failed_file_is_named_and_the_others_go_on(place, edit):
    save(place / "in/a.png")
    save(place / "in/c.png")
    (place / "in/b.png").write_bytes((place / "in/a.png").read_bytes()[:200])
    (place / "in/text.jpg").write_text("no picture")
    first, *others = (Image.fromarray(np.full((8, 8), level, np.uint8)) for level in (0, 99))
    first.save(place / "in/film.gif", save_all=True, append_images=others)
    code, _, err = edit("input=in output=out report=log.jsonl")
    assert code == 1
    assert written(place / "out") == ["a.png", "c.png"]
    assert "3 of 5 pictures failed: in/b.png, in/film.gif, in/text.jpg" in err
    lines = {line["file"]: line for line in map(json.loads, (place / "log.jsonl").read_text().splitlines())}
    assert "cannot be read" in lines["in/b.png"]["error"]
    assert "2 frames" in lines["in/film.gif"]["error"]
    assert lines["in/c.png"]["status"] == "edited"
    assert lines["in/c.png"]["size"] == lines["in/c.png"]["output_size"] == [20, 16]
    assert lines["in/c.png"]["mode"] == "RGB"
    assert lines["in/c.png"]["milliseconds"] >= 0


def test_a_place_that_cannot_be_written_fails_that_file(place, edit):
    save(place / "in/inner/a.png")
    save(place / "in/b.png")
    (place / "out").mkdir()
    (place / "out/inner").write_text("a file where a folder would be")
    code, _, err = edit("input=in output=out")
    assert code == 1
    assert "cannot be written" in err
    assert (place / "out/b.png").exists()


def test_where_nothing_can_be_read_no_run_is_loaded(place, typed):
    (place / "a.png").write_text("no picture")
    save(place / "b.png")
    code, _, err = typed("edit operation=denoise input=a.png output=c.png")
    assert code == 1
    assert "a.png cannot be read (it is no picture)" in err
    code, _, err = typed("edit operation=denoise input=b.png output=c.png")
    assert code == 2
    assert "darkroom train experiment=restorer/denoise_naf" in err


def test_originals_are_replaced_only_by_the_word(place, edit):
    before = save(place / "in/a.png")
    for line in ("input=in output=in", "input=in/a.png output=in/a.png", "input=in/a.png output=in overwrite=true"):
        code, _, err = edit(line)
        assert code == 2
        assert "there already" in err or "would be overwritten" in err
        assert np.array_equal(read("in/a.png"), before)
    assert "output=overwrite" in edit("input=in output=in overwrite=true")[2]
    assert edit("input=in output=overwrite format=jpeg")[0] == 2
    assert edit("input=in output=overwrite")[0] == 0
    assert written(place / "in") == ["a.png"]
    assert not np.array_equal(read("in/a.png"), before)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("input=nothing.png", "does not exist"),
        ("input='*.bmp'", "names no picture"),
        ("input=in output=out.png", "is one file, and input=in may be many"),
        ("input=in/a.png output=out.xyz", "has the ending '.xyz'"),
        ("input=in/a.png output=out.jpg format=png", "contradict each other"),
        ("input=in output=out format=png", "would both become out/a.png"),
        ("input=in output=out tile=big", "tile=auto, tile=none"),
        ("input=in output=out tile=0", "tile=auto, tile=none"),
        ("input=in output=out device=gpu", "one of auto, cpu, cuda"),
        ("input=in output=out device=cuda:99", "is not on this machine"),
        ("input=in output=out format=png quality=90", "which loses nothing"),
        ("input=in output=out mask=none.png", "mask=none.png does not exist"),
        ("input=in output=out mask=masks", "holds none for in/a.jpg"),
        ("input=in output=out mask=black.png", "marks 0 %"),
        ("input=in output=out mask=black.png mask_invert=true", "marks 100 %"),
        ("input=in output=out mask=colour:rde", "names no colour"),
        ("input=in output=out mask_grow=3", "shapes a mask, and there is none"),
        ("input=in output=out reference=masks", "holds none for in/a.jpg"),
        ("input=in output=out overwrite=true skip_existing=true", "contradict"),
        ("input=in/a.png output=black.png mask=black.png overwrite=true", "black.png would be overwritten"),
        ("input=in/a.png output=b.png reference=b.png", "reference=b.png does not exist"),
    ],
)
def test_what_cannot_be_is_said_in_a_sentence_before_anything_is_written(place, edit, line, words):
    save(place / "in/a.png")
    save(place / "in/a.jpg")
    save(place / "masks/b.png")
    save(place / "masks/b.jpg")
    Image.fromarray(np.zeros((16, 20), np.uint8)).save(place / "black.png")
    before = written(place)

    def never(colours, mask):
        raise AssertionError

    code, out, err = edit(line, Editor(never))
    assert (code, out) == (2, "")
    assert words in err
    assert written(place) == before


def test_what_is_read_is_not_written(place, edit):
    before = save(place / "in/a.png")
    save(place / "clean/a.png", seed=1)
    code, _, err = edit("input=in output=clean reference=clean overwrite=true")
    assert code == 2
    assert "it is read" in err
    assert not np.array_equal(read("clean/a.png"), before)


def grey(colours, mask):
    return torch.zeros_like(colours)


FILLER = Editor(grey, reach=2, masked=True)


def test_masks_of_every_origin_repair_what_they_mark_and_nothing_else(place, edit):
    before = save(place / "in/a.png")
    before_too = save(place / "in/inner/b.png", seed=1)
    holes = np.zeros((16, 20), bool)
    holes[4:8, 5:15] = True
    (place / "masks/inner").mkdir(parents=True)
    Image.fromarray((holes * 255).astype(np.uint8)).save(place / "masks/a.png")
    Image.fromarray((~holes * 255).astype(np.uint8)).save(place / "masks/inner/b.bmp")
    code, _, err = edit("input=in output=out mask=masks report=log.jsonl", FILLER)
    assert code == 0, err
    for name, levels, marks in (("a.png", before, holes), ("inner/b.png", before_too, ~holes)):
        after = read(place / "out" / name)
        assert np.array_equal(after[~marks], levels[~marks])
        assert (np.abs(after[marks].astype(int) - 127.5) <= 0.5).all()
    assert "repaired 12.5% to 87.5% of each" in err
    shares = [json.loads(line)["repaired"] for line in (place / "log.jsonl").read_text().splitlines()]
    assert shares == [0.125, 0.875]
    code, _, err = edit("input=in/a.png output=one.png mask=masks/a.png", FILLER)
    assert code == 0, err
    assert "12.5% of it repaired" in err
    assert np.array_equal(read("one.png"), read("out/a.png"))
    red = before.copy()
    red[holes] = (255, 0, 0)
    Image.fromarray(red).save(place / "red.png")
    code, _, err = edit("input=red.png output=two.png mask=colour:#ff0000", FILLER)
    assert code == 0, err
    assert np.array_equal(read("two.png"), read("one.png"))
    Image.fromarray(np.dstack([before, ~holes * np.uint8(255)])).save(place / "erased.png")
    code, _, err = edit("input=erased.png output=three.png mask=alpha", FILLER)
    assert code == 0, err
    assert np.array_equal(read("three.png")[:, :, :3], read("one.png"))
    assert (read("three.png")[:, :, 3] == 255).all()  # what was repaired is seen


def test_a_mask_of_another_size_fails_its_file(place, edit):
    save(place / "in/a.png")
    save(place / "in/b.png", 10, 10, 3)
    marks = np.zeros((16, 20), np.uint8)
    marks[3:6, 3:6] = 255
    Image.fromarray(marks).save(place / "mask.png")
    code, _, err = edit("input=in output=out mask=mask.png", FILLER)
    assert code == 1
    assert "mask=mask.png has 20x16 pixels and the picture 10x10" in err
    assert written(place / "out") == ["a.png"]


def test_what_needs_a_mask_says_so(place, edit):
    save(place / "a.png")
    code, _, err = edit("input=a.png output=b.png", FILLER)
    assert code == 2
    assert "be told where" in err
    mask = np.zeros((16, 20), np.uint8)
    mask[2:4] = 255
    Image.fromarray(mask).save(place / "mask.png")
    larger = Editor(lambda colours, mask: colours.repeat_interleave(2, 1).repeat_interleave(2, 2), scale=2)
    code, _, err = edit("input=a.png output=b.png mask=mask.png", larger)
    assert code == 2
    assert "leave mask out" in err
    assert edit("input=a.png output=b.png", larger)[0] == 0
    assert read("b.png").shape == (32, 40, 3)


def test_what_always_needs_a_mask_says_so_before_there_is_a_run(place, typed):
    save(place / "a.png")
    code, _, err = typed("edit operation=inpaint input=a.png output=b.png")
    assert code == 2
    assert "operation=inpaint needs to be told where" in err


def test_the_result_is_scored_against_a_reference_and_a_classical_way(place, edit):
    whole = save(place / "whole/a.png", 32, 32, 3)
    noisy = np.clip(whole + np.random.default_rng(1).normal(0, 20, whole.shape), 0, 255).astype(np.uint8)
    (place / "in").mkdir()
    Image.fromarray(noisy).save(place / "in/a.png")
    truth = torch.from_numpy(whole).permute(2, 0, 1) / 127.5 - 1
    better = Editor(lambda colours, mask: truth + 0.01, baseline=lambda colours, mask: colours, baseline_name="wavelet")
    code, _, err = edit("input=in output=out reference=whole report=log.jsonl compare=true", better)
    assert code == 0, err
    scores = json.loads((place / "log.jsonl").read_text())["scores"]
    error = (read("out/a.png").astype(float) - whole) / 255
    assert scores["psnr"] == pytest.approx(-10 * np.log10((error**2).mean()), abs=1e-3)
    assert scores["psnr_before"] == scores["psnr_wavelet"] == pytest.approx(22, abs=1)
    assert scores["psnr_gain"] > 5
    assert scores["ssim"] > scores["ssim_before"]
    assert "does better" not in err
    strip = read("out/a.png.compare.png")
    assert strip.shape == (32, 3 * 32 + 2 * 4, 3)
    assert np.array_equal(strip[:, :32], noisy)
    assert np.array_equal(strip[:, 36:68], read("out/a.png"))
    worse = Editor(grey, baseline=lambda colours, mask: truth, baseline_name="wavelet")
    code, _, err = edit("input=in output=out reference=whole/a.png overwrite=true", worse)
    assert code == 0
    assert "wavelet does better on this picture, by" in err


def test_without_a_reference_the_run_is_tried_on_the_picture_itself(place, edit):
    save(place / "a.png", 40, 40, 3)

    def damage(picture, seed):
        generator = torch.Generator().manual_seed(seed)
        return picture + 0.2 * torch.randn(picture.shape, generator=generator), None

    def tried(apply, baseline):
        return Editor(apply, reach=0, damage=damage, baseline=baseline, baseline_name="wavelet")

    code, _, err = edit("input=a.png output=b.png report=log.jsonl", tried(lambda c, m: c, lambda c, m: c * 0.9))
    assert code == 0, err
    scores = json.loads((place / "log.jsonl").read_text())["scores"]
    assert scores["self_test"] == scores["self_test_damaged"] == pytest.approx(-20 * np.log10(0.1), abs=1)
    assert scores["self_test_wavelet"] != scores["self_test"]
    code, _, err = edit("input=a.png output=c.png", tried(lambda c, m: c * 0, lambda c, m: c))
    assert "wavelet does better when the middle of this picture is damaged" in err
    code, _, err = edit("input=a.png output=d.png self_test=false", tried(grey, lambda c, m: c))
    assert "wavelet" not in err
    assert edit("input=a.png output=e.png self_test=true")[0] == 2


def test_what_looks_wrong_is_said(place, edit):
    save(place / "a.png", 40, 40, 3)
    bright = Editor(lambda colours, mask: colours + 0.5)
    assert "levels of 255 brighter" in edit("input=a.png output=b.png", bright)[2]
    assert "pure black or white" in edit("input=a.png output=c.png", Editor(lambda c, m: c * 9))[2]
    meant = Editor(lambda colours, mask: colours + 0.5, recolours=True)
    assert "brighter" not in edit("input=a.png output=d.png", meant)[2]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("format=gif", "one of keep, png, jpeg, webp, tiff was expected"),
        ("strength=1.5", "at most 1"),
        ("quality=0", "at least 1"),
        ("frames=3", "frames= says nothing to operation=denoise, which takes level"),
        ("level=-3", "'level' is -3, but a number of at least 0 and at most 255"),
        ("levle=3", "did you mean 'level'"),
        ("strenght=3", "did you mean 'strength'"),
        ("checkpoint=latest", "checkpoint=latest says nothing to operation=denoise"),
    ],
)
def test_settings_that_cannot_be_are_refused_when_they_are_typed(place, typed, faked, line, words):
    faked()
    save(place / "a.png")
    code, out, err = typed(f"edit operation=denoise input=a.png {line}")
    assert (code, out) == (2, "")
    assert words in err
    assert written(place) == ["a.png"]


def test_names_may_hold_brackets_and_spaces(place, typed, faked):
    faked()
    save(place / "my photo (1).png")
    code, _, err = typed("edit operation=denoise track=false 'input=my photo (1).png' 'output=clean #1.png'")
    assert code == 0, err
    assert (place / "clean #1.png").exists()


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("darkroom.operations.nowhere.Nothing", "there is no module 'darkroom.operations.nowhere'"),
        ("darkroom.operations.restoration.Nothing", "defines no 'Nothing'"),
        ("collections.Counter", "which is no SheetOperation of this lab"),
        ("nothing", "_target_"),
    ],
)
def test_a_file_that_names_no_operation_is_told(place, typed, target, words):
    save(place / "a.png")
    (place / "mine/operation").mkdir(parents=True)
    (place / "mine/operation/odd.yaml").write_text(f"# Mine.\n_target_: {target}\n")
    code, out, err = typed("edit --config-dir mine operation=odd input=a.png")
    assert (code, out) == (2, "")
    assert words in err
    if "SheetOperation" not in words:
        code, out, err = typed("edit --config-dir mine")
        assert (code, out) == (2, "")
        assert words in err


def test_help_lists_what_can_be_done(place, typed):
    code, out, _ = typed("edit")
    assert code == 0
    assert all(f"\n  {name} " in out for name in known.names())
    assert "train experiment=restorer/denoise_naf" in out
    assert not (place / "project").exists()  # to list no runs, no store is made
    code, out, _ = typed("edit --help")
    assert code == 0
    assert "\n  denoise " in out
    assert "mask_grow: 0" in out
    code, _, err = typed("edit input=a.png")
    assert code == 2
    assert "say nothing without operation=" in err


def test_an_edit_leaves_a_run_with_its_report_and_pictures(place, edit, empty_database):
    from darkroom.tracking.store import Store

    (place / "project/mlruns").mkdir(parents=True)
    shutil.copy(empty_database, place / "project/mlruns/mlflow.db")
    for name in "abc":
        save(place / f"in/{name}.png", 40, 40, 3)
    (place / "in/d.png").write_text("no picture")
    damaging = Editor(darker, damage=lambda picture, seed: (picture * 0.9, None))
    code, _, err = edit("input=in output=out pictures=2 strength=0.5 track=true", damaging)
    assert code == 1, err
    (record,) = Store.open(place / "project").runs("edit")
    assert record.experiment == "edit"
    assert record.status == "FINISHED"
    assert record.tags[tag.KIND] == "edit"
    assert record.params["strength"] == "0.5"
    assert record.metrics["edit/edited"] == 3
    assert record.metrics["edit/failed"] == 1
    lines = [json.loads(line) for line in (record.folder / "report.jsonl").read_text().splitlines()]
    assert [line["status"] for line in lines] == ["edited", "edited", "edited", "failed"]
    mean = np.mean([line["scores"]["self_test"] for line in lines[:3]])
    assert record.metrics["edit/self_test"] == pytest.approx(mean, abs=1e-3)
    assert len(list((record.folder / "samples").glob("edited_*.png"))) == 2


def test_every_format_and_depth_goes_through(place, edit):
    """What is left of each kind of file by an edit that does nothing, in its own format."""
    import cv2

    generator = np.random.default_rng(0)
    deep = generator.integers(0, 65_536, (16, 20, 3), dtype=np.uint16)
    save(place / "in/l.png", 16, 20)
    save(place / "in/rgba.png", 16, 20, 4)
    save(place / "in/rgb.tif")
    save(place / "in/rgb.webp", lossless=True)
    cv2.imwrite(str(place / "in/deep.png"), deep)
    cv2.imwrite(str(place / "in/deep.tif"), deep)
    Image.fromarray(deep[:, :, 0]).save(place / "in/deep_grey.png")
    Image.fromarray(generator.integers(0, 256, (16, 20, 4), dtype=np.uint8), "CMYK").save(place / "in/cmyk.jpg")
    for channels in (1, 3):
        code, _, err = edit(f"input=in output=out{channels}", Editor(lambda c, m: c, channels=channels, reach=1))
        assert code == 0, err
        for name in written(place / "in"):
            if name != "cmyk.jpg":
                pair = [
                    cv2.imread(str(place / folder / name), cv2.IMREAD_UNCHANGED) for folder in ("in", f"out{channels}")
                ]
                assert pair[0].dtype == pair[1].dtype, name
                assert np.array_equal(*pair), name
        assert "CMYK" in err
        assert Image.open(place / f"out{channels}/cmyk.jpg").mode == "RGB"


def test_a_line_of_the_report_is_json():
    line = working.Line("ä.png", "b.png", scores={"psnr": 1 / 3})
    assert json.loads(line.json()) == {
        "file": "ä.png",
        "output": "b.png",
        "status": "edited",
        "milliseconds": 0,
        "scores": {"psnr": 0.3333},
        "warnings": [],
    }
