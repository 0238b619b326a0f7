"""From captions in the data to pictures of one's own sentences."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from darkroom.judges import eye

TEXT = (
    "name=writer profile=smoke data=two_shapes model.conditioning=text model.mismatch=1 budget.images=320"
    " data.source.train=200 data.source.val=100 data.source.test=150 data.image_size=16 model.latent_dim=8"
    " model.generator.width=4 model.discriminator.width=4 model.caption_encoder.dim=8 metrics.images=100"
    " metrics.test_images=100 metrics.every=320 metrics.kid_subsets=2 saving.samples=16"
)


@pytest.fixture(scope="module")
def written(train_all):
    """A project folder with a run of the smallest GAN that reads, scored by an eye that was hardly taught."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(eye, "LESSON", 256)
        patch.setattr(eye, "LEAST", 0.0)
        patch.setattr(
            "darkroom.metrics.generative.taught_and_kept",
            lambda data, at, say: _unlearned(data.everything).save(at),
        )
        return train_all("written", (TEXT,))


def _unlearned(data):
    from darkroom.judges.judge import Judge, TrainingRecord
    from darkroom.networks.convnet import ConvNet

    arguments = {"channels": 3, "classes": 6, "width": 4, "feature_dim": 8}
    tensors = {f"net.{key}": tensor for key, tensor in ConvNet(**arguments).state_dict().items()}
    tensors |= {"feature_mean": torch.zeros(8), "feature_std": torch.ones(8)}
    training_record = TrainingRecord(data.name, data.digest, data.split_digests, 0.5, 0, 0, "random weights")
    return Judge(data.name, arguments, tensors, data.image_shape, data.class_names, training_record)


@pytest.fixture
def project(written, tmp_path, monkeypatch):
    shutil.copytree(written / "mlruns", tmp_path / "mlruns")
    monkeypatch.setenv("DARKROOM_ROOT", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def arrays(file):
    with np.load(file, allow_pickle=False) as archive:
        return archive["images"], archive["captions"].tolist()


def test_obedience_is_part_of_the_scores(project, runs):
    scores = json.loads((runs()["writer"].folder / "metrics.json").read_text())
    for share in ("attribute", "prompt"):
        for part in ("seen", "held_out"):
            assert 0 <= scores["test"]["values"][f"{share}_accuracy_{part}"] <= 1
    assert "attribute_accuracy_seen_oracle" in scores["test"]["values"]
    assert "label_accuracy" not in scores["test"]["values"]
    assert "attribute_accuracy_held_out" not in scores["val"]["values"]
    assert scores["test"]["protocol"]["eye_hash"]


def test_a_prompt_becomes_pictures(project, typed):
    asked = "A small red circle above a large blue square!"
    code, _, err = typed(f"generate checkpoint=writer count=6 seed=5 output=one.npz 'prompt={asked}'")
    assert code == 0, err
    assert "6 pictures" in err
    images, captions = arrays("one.npz")
    assert captions == [asked] * 6
    code, _, err = typed(f"""generate checkpoint=writer count=3 seed=5 output=two 'prompt=["a red ring","{asked}"]'""")
    assert code == 0, err
    assert "6 pictures" in err
    files = sorted((project / "two").glob("*.png"))
    drawn = [np.asarray(Image.open(file)) for file in files]
    assert all(np.array_equal(drawn[3 + index], images[index]) for index in range(3))
    listed = (project / "two" / "labels.csv").read_text().splitlines()
    assert listed[:2] == ["file,caption", "000000.png,a red ring"]
    assert len(listed) == 7
    assert typed("generate checkpoint=writer count=4 output=any.npz")[0] == 0
    assert len(set(arrays("any.npz")[1])) == 4
    for more in ("count=4", f"count=20 'prompt={asked}'"):
        assert typed(f"generate checkpoint=writer {more} output=sheet.png")[0] == 0
        assert np.asarray(Image.open("sheet.png")).max() >= 200, "the caption is written on it"


def test_what_cannot_be_asked_is_one_sentence(project, typed):
    for more, fragment in {
        "'prompt=a small rde circle'": "has never seen 'rde' (did you mean 'red'?)",
        "prompt=": "says nothing",
        "'prompt=...'": "says nothing",
        "prompt=[]": "says nothing",
        "prompt=red labels=3": "both given",
        "labels=3": "is asked in words",
        '"prompt=a red dog\'s, ring"': "has never seen 'dog', 's'",
    }.items():
        code, out, err = typed(f"generate checkpoint=writer {more}")
        assert (code, out) == (2, ""), more
        assert fragment in err
        assert err.count("\n") == 1
