import hashlib
import json
import os
import struct

import pytest
import safetensors.torch
import torch

from darkroom import digests
from darkroom.errors import UserError
from darkroom.images import from_uint8
from darkroom.judges.judge import SHIPPED, Inception, Judge, NoJudge, facts_of, find


@pytest.fixture
def uint8_images():
    return torch.randint(0, 256, (30, 1, 12, 12), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_a_saved_judge_is_the_same_judge(judge, uint8_images, tmp_path):
    path = judge.save(tmp_path)
    assert path.name == f"bars-{judge.hash[:8]}.safetensors"
    loaded = Judge.load(path)
    assert loaded.hash == judge.hash
    assert (loaded.name, loaded.image_shape, loaded.class_names) == ("bars", (1, 12, 12), judge.class_names)
    assert loaded.training_record == judge.training_record
    assert torch.equal(loaded.features(uint8_images), judge.features(uint8_images))
    assert torch.equal(loaded.logits(uint8_images), judge.logits(uint8_images))


def test_a_changed_weight_is_refused(judge, tmp_path):
    path = judge.save(tmp_path)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match="changed after it was made"):
        Judge.load(path)


def test_a_judge_under_the_name_of_another_is_refused(judge, make_judge, tmp_path):
    path, other = judge.save(tmp_path), make_judge(seed=1).save(tmp_path)
    other.replace(path)
    with pytest.raises(UserError, match="changed after it was made"):
        Judge.load(path)


@pytest.mark.parametrize("content", [b"", b"no judge at all", struct.pack("<Q", 1 << 40) + b"{}"])
def test_other_files_are_no_judges(content, tmp_path):
    path = tmp_path / "x.safetensors"
    with pytest.raises(UserError, match="no judge at"):
        Judge.load(path)
    path.write_bytes(content)
    with pytest.raises(UserError, match="not a readable judge"):
        Judge.load(path)
    safetensors.torch.save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(UserError, match="but not a judge"):
        Judge.load(path)


def test_the_hash_is_over_names_and_bytes():
    a, b = torch.arange(3.0), torch.ones(2)
    assert digests.of_tensors({"a": a, "b": b}) == digests.of_tensors({"b": b, "a": a})
    assert digests.of_tensors({"a": a, "b": b}) != digests.of_tensors({"a": a, "c": b})
    assert digests.of_tensors({"a": a}) != digests.of_tensors({"a": a + 1e-6})
    assert digests.of_tensors({"a": torch.zeros(6)}) != digests.of_tensors({"a": torch.zeros(2, 3)})


def test_a_file_from_before_there_were_certificates(judge, tmp_path):
    path = judge.save(tmp_path)
    facts = facts_of(path)
    del facts["architecture"], facts["certificate"], facts["upbringing"]["taught"]
    del facts["upbringing"]["network_digest"]
    safetensors.torch.save_file(safetensors.torch.load_file(path), path, {"judge": json.dumps(facts)})
    old = Judge.load(path)
    assert (old.hash, old.certificate, old.training_record) == (judge.hash, None, judge.training_record)


@pytest.mark.parametrize(
    "architecture",
    ["resnet.ResNet", "convnet.Conv", "dcgan.Tensor", "os.system", "../convnet.ConvNet", "backbone.Backbone"],
)
def test_only_plain_networks_of_this_package_are_built(architecture, judge, tmp_path):
    path = judge.save(tmp_path)
    facts = facts_of(path) | {"architecture": architecture}
    safetensors.torch.save_file(safetensors.torch.load_file(path), path, {"judge": json.dumps(facts)})
    with pytest.raises(UserError, match="is no plain network"):
        Judge.load(path)


def test_the_newest_of_ones_own_judges_is_taken(data, make_judge, tmp_path, monkeypatch):
    monkeypatch.setattr("darkroom.judges.judge.SHIPPED", tmp_path / "shipped")
    made = [make_judge(seed=seed, digests=data.split_digests) for seed in range(3)]
    for age, judge in enumerate(made):
        os.utime(judge.save(tmp_path / "judges"), (1000 - age, 1000 - age))
    assert find("domain", data, tmp_path).hash == made[0].hash


def test_distance_is_of_pairs_and_symmetric(judge, uint8_images):
    others = uint8_images.flip(0)
    far = judge.distance(uint8_images, others)
    assert far.shape == (30,)
    assert torch.equal(judge.distance(uint8_images, uint8_images), torch.zeros(30))
    assert torch.allclose(judge.distance(others, uint8_images), far)
    assert ((far > 0) & (far <= 4)).all()
    judge.chunk = 7
    assert torch.allclose(judge.distance(uint8_images, others), far, atol=1e-5)


def test_loading_draws_no_random_numbers(judge, tmp_path, random_state):
    path = judge.save(tmp_path)
    before = random_state()
    Judge.load(path)
    assert random_state() == before


def test_a_judge_cannot_slip_into_a_checkpoint(judge):
    model = torch.nn.Linear(1, 1)
    model.judge = judge
    assert set(model.state_dict()) == {"weight", "bias"}


def test_floats_are_rounded_and_not_truncated(judge):
    level = torch.full((1, 1, 12, 12), 100, dtype=torch.uint8)
    almost = from_uint8(level) + 0.6 * 2 / 255  # 100.6: a file would hold 101, truncation 100
    assert torch.equal(judge.features(almost), judge.features(level + 1))
    assert not torch.equal(judge.features(level + 1), judge.features(level))


def test_what_is_looked_at_together_makes_no_difference(judge, uint8_images):
    whole = judge.features(uint8_images)
    judge.chunk = 7
    assert torch.allclose(judge.features(uint8_images), whole, rtol=1e-5, atol=1e-5)
    assert torch.allclose(torch.cat([judge.features(i[None]) for i in uint8_images]), whole, rtol=1e-5, atol=1e-5)


def test_no_mixed_precision(judge, uint8_images):
    plain = judge.features(uint8_images)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(judge.features(uint8_images), plain)


def test_other_sizes_and_channels(make_judge, uint8_images):
    judge, colour = make_judge(), make_judge(channels=3)
    flat = torch.full((2, 1, 24, 24), 80, dtype=torch.uint8)
    assert torch.allclose(judge.features(flat), judge.features(flat[:, :, :12, :12]), atol=1e-5)
    assert torch.equal(colour.features(uint8_images), colour.features(uint8_images.repeat(1, 3, 1, 1)))
    with pytest.raises(UserError, match="was given 3 channels"):
        judge.features(uint8_images.repeat(1, 3, 1, 1))


def test_finding_the_judge_of_some_data(data, make_data, make_judge, tmp_path, monkeypatch):
    monkeypatch.setattr("darkroom.judges.judge.SHIPPED", tmp_path / "shipped")
    with pytest.raises(NoJudge, match="no judge for the data 'bars'"):
        find("domain", data, tmp_path)
    mine = make_judge(digests=data.split_digests)
    path = mine.save(tmp_path / "judges")
    assert find("domain", data, tmp_path).hash == mine.hash
    assert find(str(path), data, tmp_path / "elsewhere").hash == mine.hash

    few = make_data()
    few.split_digests["train"] = "0" * 64  # trained on other pictures, judged on the same
    assert find("domain", few, tmp_path).hash == mine.hash
    with pytest.raises(NoJudge):
        find("domain", make_data(seed=1), tmp_path)
    with pytest.raises(NoJudge):
        find("domain", make_data(class_names=["a", "b", "c"]), tmp_path)

    shipped = make_judge(seed=5)
    shipped.save(tmp_path / "shipped")
    assert find("domain", make_data(seed=1), tmp_path).hash == shipped.hash


def test_what_cannot_be_found(data, make_data, tmp_path):
    with pytest.raises(NoJudge, match="with these 0 classes"):  # but one can be taught to see turns and damage
        find("domain", make_data(class_names=[]), tmp_path)
    with pytest.raises(UserError, match="is unknown"):
        find("resnet", data, tmp_path)


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.safetensors")), ids=lambda path: path.stem)
def test_shipped_judges_are_whole_small_and_certified(path):
    judge = Judge.load(path)
    assert path.stat().st_size <= 500_000
    assert judge.certificate is not None
    assert judge.certificate.passed
    assert judge.certificate.split_digest == judge.training_record.split_digests["test"]
    assert judge.training_record.val_accuracy > 0.98


def test_inception_says_which_file_is_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(UserError, match=r"hub/checkpoints/weights-inception.*sha256 6726825d.*metrics.weights="):
        Inception()
    (tmp_path / "weights.pth").write_bytes(b"something else")
    with pytest.raises(UserError, match="expected 6726825d"):
        Inception(tmp_path / "weights.pth")


@pytest.fixture
def random_inception(tmp_path):
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    class Untrained(FeatureExtractorInceptionV3):
        def load_state_dict(self, *_, **__):
            pass

    path = tmp_path / "weights.pth"
    torch.save({}, path)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = Untrained("inception-v3-compat", ["2048"], feature_extractor_weights_path=path)
    torch.save(net.state_dict(), path)
    return path, hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.slow
def test_inception_equals_torch_fidelity(random_inception, random_state):
    from torch_fidelity import calculate_metrics

    from darkroom.judges.statistics import Statistics, by_torch_fidelity

    path, sha256 = random_inception
    before = random_state()
    inception = Inception(path, sha256)
    assert random_state() == before
    assert inception.hash == sha256

    generator = torch.Generator().manual_seed(0)
    generated = torch.randint(0, 256, (12, 3, 32, 32), dtype=torch.uint8, generator=generator)
    real = torch.randint(0, 200, (14, 3, 32, 32), dtype=torch.uint8, generator=generator)

    class Dataset(torch.utils.data.Dataset):
        def __init__(self, images):
            self.images = images

        def __len__(self):
            return len(self.images)

        def __getitem__(self, index):
            return self.images[index]

    theirs = calculate_metrics(
        input1=Dataset(generated), input2=Dataset(real), fid=True, isc=True, kid=True, cuda=False, save_cpu_ram=True,
        verbose=False, cache=False, isc_splits=1, kid_subsets=2, kid_subset_size=10, rng_seed=0,
        feature_extractor="inception-v3-compat", feature_extractor_weights_path=str(path), batch_size=16,
    )  # fmt: skip
    seen, logits = inception.look(generated)
    assert seen.shape == (12, 2048)
    ours = by_torch_fidelity(seen, inception.features(real), logits, Statistics(2, 10, 1, 0))
    assert ours["inception_score"] == pytest.approx(theirs["inception_score_mean"], rel=1e-6)
    assert ours["kid"] == pytest.approx(theirs["kernel_inception_distance_mean"], rel=1e-6, abs=1e-9)
    assert ours["fid"] == pytest.approx(theirs["frechet_inception_distance"], rel=1e-6)

    grey = generated[:2, :1]
    assert torch.equal(inception.features(grey), inception.features(grey.repeat(1, 3, 1, 1)))


@pytest.mark.slow
def test_the_protocol_of_lucic_is_torch_fidelitys_number(random_inception, data, make_painter, tmp_path, monkeypatch):
    from torch_fidelity import calculate_metrics

    from darkroom.config.composing import compose
    from darkroom.config.parts import build
    from darkroom.images import to_uint8
    from darkroom.metrics.generative import Generative

    path, sha256 = random_inception
    node = compose("train", ["metrics=lucic2018"])["metrics"]
    assert (node["images"], node["test_images"], node["judge"], node["value_type"]) == (
        10_000, 10_000, "inception", "float")  # fmt: skip
    small = {"test_images": 12, "kid_subset_size": 10, "cache": str(tmp_path), "weights": str(path)}
    metric = build({**node, **small})
    monkeypatch.setattr(Generative, "_least", lambda *_: 2)  # of 2,049 pictures nothing would be seen in minutes
    monkeypatch.setattr(Generative, "_rows", lambda *_: {})
    monkeypatch.setattr("darkroom.judges.judge.Inception", lambda weights: Inception(weights, sha256))

    class Saved(make_painter):
        def sample(self, indices, seed, labels=None):
            pictures = super().sample(indices, seed, labels)
            return ((pictures + 1) * 127.5).round() / 127.5 - 1

    class Dataset(torch.utils.data.Dataset):
        def __init__(self, images):
            self.images = images.expand(-1, 3, -1, -1).contiguous()

        def __len__(self):
            return len(self.images)

        def __getitem__(self, index):
            return self.images[index]

    data.splits["test"].pixels = data.splits["test"].pixels[:14]
    found = metric.score(Saved(), data, "test", exact=True)
    with torch.no_grad():
        drawn = to_uint8(Saved().eval().sample(torch.arange(12), 0))
    theirs = calculate_metrics(
        input1=Dataset(drawn), input2=Dataset(data.splits["test"].pixels), fid=True, isc=True, kid=True, cuda=False,
        save_cpu_ram=True, verbose=False, cache=False, isc_splits=10, kid_subsets=100, kid_subset_size=10, rng_seed=0,
        feature_extractor="inception-v3-compat", feature_extractor_weights_path=str(path), batch_size=16,
    )  # fmt: skip
    assert found.protocol["value_type"] == "float"
    assert found.protocol["generated_images"] == 12
    assert found.values["fid"] == pytest.approx(theirs["frechet_inception_distance"], rel=1e-4)
    assert found.values["kid"] == pytest.approx(theirs["kernel_inception_distance_mean"], rel=1e-3, abs=1e-9)
    assert found.values["inception_score"] == pytest.approx(theirs["inception_score_mean"], rel=1e-6)

    inception, rows = Inception(path, sha256), drawn[:4]
    unrounded = rows.float() / 127.5 - 1
    assert torch.allclose(inception.look(unrounded, rounded=False)[0], inception.features(rows), rtol=1e-4)
    moved = unrounded.clamp(max=0.99) + 0.3 / 127.5  # not enough for another byte
    assert torch.equal(inception.features(moved), inception.features(unrounded.clamp(max=0.99)))
    assert not torch.equal(inception.look(moved, rounded=False)[0], inception.look(unrounded, rounded=False)[0])


def test_metadata_is_readable_by_anyone(judge, tmp_path):
    content = judge.save(tmp_path).read_bytes()
    header = json.loads(content[8 : 8 + struct.unpack("<Q", content[:8])[0]])
    facts = json.loads(header["__metadata__"]["judge"])
    assert facts["hash"] == judge.hash
    assert facts["upbringing"]["val_accuracy"] == 0.5


@pytest.mark.parametrize("name", ["digits", "shapes"])
def test_shipped_judges_are_those_of_the_data_as_they_are(name, tmp_path):
    from darkroom.data.digits import Digits
    from darkroom.data.module import ImageData
    from darkroom.data.shapes import Shapes
    from darkroom.judges.teaching import accuracy

    data = ImageData(Digits(), 16, 1) if name == "digits" else ImageData(Shapes(), 32, 3)
    data.locate(tmp_path, tmp_path)
    data.prepare()
    judge = find("domain", data, tmp_path)
    # If this fails, the data have changed: make their judge again with `train_judge` and replace the file.
    assert judge.training_record.split_digests == data.split_digests
    assert judge.image_shape == data.image_shape
    assert accuracy(judge.net.net, data.pictures("val")) == pytest.approx(judge.training_record.val_accuracy, abs=0.002)
