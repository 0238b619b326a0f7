import pytest

SMALL = (
    "budget.images=64 model.generator.width=4 model.discriminator.width=4 metrics.images=100 metrics.test_images=100"
)

# Whatever can be known before training is known before the run exists.
REFUSED = {
    "data=folder data.source.root=nowhere": "nowhere",
    "data=folder data.source.root=empty data.image_size=8": "empty",
    "data=folder data.source.root=one data.image_size=8": "one",
    "data=mnist data.source.download=false": "mnist",
    "data.image_size=4": "too small for dcgan",
    "data.augment.flip=true": "data.augment.flip",
    "resume=nobody": "'nobody'",
    "fork=painter/best.ckpt": "no checkpoint at",
    "resume=painter": "type budget.images=<more>",
    "resume=painter budget.images=900 model.latent_dim=9": "do not fit this model",
    "resume=painter budget.images=900 seed=3 model.generator.width=8": "do not fit this model",
    "init=namer": "is a Classifier and this configuration trains a Gan",
    "init=painter data.image_size=16": "do not fit this model",
    "init=short.ckpt": "cut short",
    "trainer=gpu": "type trainer=cpu",
    "model=gan metrics=classification": "type metrics=generative",
    "metrics.judge=nowhere.safetensors": "nowhere.safetensors",
    "metrics.images=5": "too few",
    "model=classifier metrics=classification metrics.views=[flip]": "would mirror digits",
    "precision=16-mixed trainer=cpu": "needs a GPU",
}


@pytest.mark.parametrize("more", REFUSED)
def test_bad_input_is_one_sentence_and_leaves_no_run(more, project, typed, runs):
    from PIL import Image

    (project / "empty").mkdir()
    (project / "one").mkdir()
    Image.new("L", (8, 8)).save(project / "one" / "a.png")
    (project / "short.ckpt").write_bytes(
        (runs()["painter"].folder / "checkpoints" / "best.ckpt").read_bytes()[:5000])  # fmt: skip
    code, _, err = typed(f"train {more}" if "resume" in more or "classification" in more else f"train {SMALL} {more}")
    assert code == 2, err
    assert REFUSED[more] in err
    assert len([line for line in err.splitlines() if line.startswith("darkroom train: ")]) == 1
    assert "Traceback" not in err
    assert set(runs()) == {"painter", "namer"}
    assert all(record.status == "FINISHED" for record in runs().values())
