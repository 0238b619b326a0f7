import pytest

from darkroom import paths


@pytest.mark.slow  # tests/test_conf.py composes every file too, and CI types the command
def test_every_file_of_the_lab_is_right(typed):
    code, out, err = typed("check")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert all(line.startswith("ok     ") for line in lines[:-1])
    assert lines[-1] == f"{len(lines) - 1} configurations, 0 wrong"
    named = {line.split()[1] for line in lines[:-1]}
    files = {
        str(file.relative_to(paths.conf())) for file in paths.conf().rglob("*.yaml") if file.parent.name != "local"
    }
    assert named == files - {"pipeline.yaml"}  # which is DVC's


def test_a_folder_of_ones_own_is_checked_on_top_of_the_labs(tmp_path, typed):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "good.yaml").write_text("# @package _global_\nseed: 3\n")
    (tmp_path / "experiment" / "typo.yaml").write_text("# @package _global_\nmodel: {latent_dimm: 3}\n")
    (tmp_path / "experiment" / "odd.yaml").write_text("# @package _global_\nseed: [\n")
    (tmp_path / "optimizer").mkdir()
    (tmp_path / "optimizer" / "mine.yaml").write_text("_target_: torch.optim.Adm\n_partial_: true\nlr: 0.1\n")
    code, out, _ = typed(f"check folder={tmp_path}")
    assert code == 2
    lines = {line.split()[1].rstrip(":"): line for line in out.splitlines()[:-1]}
    assert lines["experiment/good.yaml"].startswith("ok")
    assert "did you mean 'latent_dim'" in lines["experiment/typo.yaml"]
    assert "not YAML" in lines["experiment/odd.yaml"]
    assert "defines no 'Adm'" in lines["optimizer/mine.yaml"]
    assert out.splitlines()[-1] == "4 configurations, 3 wrong"


def test_what_is_no_folder_of_configurations_is_refused(tmp_path, typed):
    for folder, fragment in {tmp_path: "There is no configuration", tmp_path / "nowhere": "is not a folder"}.items():
        code, out, err = typed(f"check folder={folder}")
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert fragment in err
