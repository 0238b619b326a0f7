import numpy as np
import pytest
import torch

from darkroom.audits.detection import CHANGES, audit_detector, compare, evidence, is_detector, measured, verdict
from darkroom.data.detection import CLASS_NAMES, GENERATED, Gallery, Painter, RealOrGenerated
from darkroom.data.module import ImageData
from darkroom.data.pictures import TensorPictures
from darkroom.data.source import Collection
from darkroom.errors import UserError

SHAPE = (1, 8, 8)


class Dark:
    """Pictures darker than mid-grey."""

    name = "dark"
    flippable = True

    def load(self, folder, cache, image_size, channels):
        generator = torch.Generator().manual_seed(1)
        pixels = torch.randint(0, 100, (400, *SHAPE), generator=generator, dtype=torch.uint8)
        return Collection({"train": TensorPictures(pixels)}, val=50, test=100)


def noise(brightness):
    """A painter's hand: noise of this mean brightness, in [-1, 1]."""

    def draw(indices, seed, labels):
        generators = (torch.Generator().manual_seed(seed * 100_003 + index) for index in indices.tolist())
        drawn = torch.stack([torch.rand(SHAPE, generator=generator) for generator in generators])
        return brightness + 0.2 * (drawn - 0.5)

    return draw


class Oracle:
    """Takes for drawn what is bright."""

    device = torch.device("cpu")

    def predict(self, images):
        mean = images.flatten(1).mean(dim=1)
        return torch.stack([mean, -mean], dim=1)


class Guesser:
    """Answers at random, whatever the picture."""

    device = torch.device("cpu")

    def __init__(self):
        self.generator = torch.Generator().manual_seed(3)

    def predict(self, images):
        return torch.rand(len(images), 2, generator=self.generator)


@pytest.fixture
def painter(tmp_path):
    def made(name, brightness, family="Gan of NetA"):
        return Painter(name, family, SHAPE, [], name, noise(brightness), tmp_path / "drawn")

    return made


@pytest.fixture
def data(painter, tmp_path):
    def made(forger=None):
        real = ImageData(Dark())
        real.locate(tmp_path, tmp_path / "cache")
        source = RealOrGenerated(seed=1000)
        source.supply(forger or painter("bright", 0.5), real)
        found = ImageData(source)
        found.locate(tmp_path, tmp_path / "cache")
        return found

    return made


def by_kind(audit):
    return {kind: [row for row in audit.rows if row.kind == kind] for kind in {row.kind for row in audit.rows}}


def measure(drawn, real):
    return measured(drawn, real)(np.ones(len(drawn) + len(real)))


def test_measures_of_known_answers():
    order = np.arange(100.0)
    assert measure(order + 200, order - 200).tolist() == [1, 1, 1]
    assert measure(order - 200, order + 200).tolist() == [0, 0, 0]
    # one drawn picture of four stands above all real ones, and below none of the others
    auroc, accuracy, caught = measure(np.array([9.0, -9, -9, -9]), np.zeros(50) - 1)
    assert (auroc, accuracy, caught) == (0.25, 0.625, 0.25)
    assert np.isnan(measure(order[:0], order)).all()


def test_ties_count_half():
    assert measure(np.zeros(7), np.zeros(9))[0] == 0.5


def test_measures_are_those_of_scikit_learn_for_any_weights():
    from sklearn.metrics import balanced_accuracy_score, roc_auc_score, roc_curve

    generator = np.random.default_rng(1)
    drawn, real = generator.normal(0.7, 1, 300).round(1), generator.normal(0, 1, 200).round(1)
    labels, both = np.repeat([1, 0], [300, 200]), np.concatenate([drawn, real])
    for weights in (np.ones(500), np.bincount(generator.integers(0, 500, 500), minlength=500)):
        auroc, accuracy, caught = measured(drawn, real)(weights)
        assert auroc == pytest.approx(roc_auc_score(labels, both, sample_weight=weights))
        assert accuracy == pytest.approx(balanced_accuracy_score(labels, both > 0, sample_weight=weights))
        accused, found, _ = roc_curve(labels, both, sample_weight=weights, drop_intermediate=False)
        assert caught == pytest.approx(found[accused <= 0.01].max())


def test_one_accused_in_a_hundred_is_allowed():
    real = np.concatenate([np.zeros(99) - 1, [5.0]])
    assert measure(np.full(10, 3.0), real)[2] == 1
    assert measure(np.full(10, 3.0), np.concatenate([real[2:], [5.0, 5.0]]))[2] == 0


def test_intervals_hold_the_number_and_are_wider_for_fewer_pictures():
    generator = np.random.default_rng(0)
    drawn, real = generator.normal(1, 1, 400), generator.normal(0, 1, 400)
    many = compare("many", "trained on", drawn, real, 200, 0.95, 0)
    few = compare("few", "trained on", drawn[:40], real[:40], 200, 0.95, 0)
    for name in ("auroc", "accuracy", "caught"):
        assert many.low[name] <= many.values[name] <= many.high[name]
        assert many.high[name] - many.low[name] < few.high[name] - few.low[name]
    # two normal heaps one deviation apart: AUC is Phi(1 / sqrt 2)
    assert many.low["auroc"] < 0.7602 < many.high["auroc"]


def test_an_interval_never_claims_that_errors_are_impossible():
    sure = compare("sure", "trained on", np.ones(30), -np.ones(30), 100, 0.95, 0)
    assert sure.values["auroc"] == sure.high["auroc"] == 1
    assert 0.85 < sure.low["auroc"] < 0.99


def test_evidence_is_the_odds_of_being_drawn():
    pixels = torch.tensor([0, 255], dtype=torch.uint8).reshape(2, 1, 1, 1).expand(2, *SHAPE)
    assert evidence(Oracle(), pixels).tolist() == [-2.0, 2.0]


def test_an_oracle_is_right_about_everything_and_says_what_it_cannot_do(data, painter):
    others = [painter("brighter", 0.7), painter("darker", -0.9, "Vae of NetB")]
    audit = audit_detector(Oracle(), data(), others, resamples=100)
    rows = by_kind(audit)
    (own,), (brighter, darker) = rows["trained on"], rows["never seen"]
    assert own.values == {"auroc": 1.0, "accuracy": 1.0, "caught": 1.0}
    assert (own.generated, own.real) == (100, 100)
    assert brighter.values["auroc"] == 1
    assert darker.values["auroc"] == 0
    assert "same networks" in brighter.name
    assert "other networks" in darker.name
    assert all(row.values["auroc"] == 1 for row in rows["changed alike"])
    assert len(rows["changed alike"]) == 3
    (control,) = rows["control"]
    assert control.low["auroc"] < 0.5 < control.high["auroc"]
    assert audit.verdict.startswith("Recognises new pictures of bright (AUC 1.000")
    assert "and of brighter" in audit.verdict
    assert "but fails on darker" in audit.verdict
    assert "do not use it to judge pictures of unknown origin" in audit.verdict
    assert audit.pictures["errors"].shape[2] == 3
    assert audit.protocol["generator_weights"] == "bright"


def test_a_guesser_is_found_out(data):
    audit = audit_detector(Guesser(), data(), resamples=100)
    (own,) = by_kind(audit)["trained on"]
    assert own.low["auroc"] < 0.5 < own.high["auroc"]
    assert audit.verdict.startswith("Does not reliably recognise even new pictures of bright")


def test_nothing_is_promised_where_nothing_was_tried(data):
    assert "nothing is known of other generators" in audit_detector(Oracle(), data(), resamples=100).verdict


def test_who_knows_the_training_pictures_by_heart_is_found_out(data):
    found = data()
    known = set(found.source.real.pictures("train").hashes)

    class Rote(Oracle):
        def predict(self, images):
            hashes = TensorPictures(((images + 1) * 127.5).round().to(torch.uint8)).hashes
            familiar = torch.tensor([hashed in known for hashed in hashes]).float()
            return super().predict(images) - torch.stack([5 * familiar, -5 * familiar], dim=1)

    audit = audit_detector(Rote(), found, resamples=100)
    assert by_kind(audit)["control"][0].values["auroc"] == 1
    assert "by heart" in audit.verdict


def test_seeds_that_the_detector_knows_are_refused(data):
    for seed, split in ((1000, "train"), (1001, "val"), (1002, "test")):
        with pytest.raises(UserError, match=f"seed={seed} is what the {split} pictures .* seed=1003"):
            audit_detector(Oracle(), data(), seed=seed)


def test_its_own_generator_is_not_one_that_it_never_saw(data, painter):
    with pytest.raises(UserError, match="generators= names bright, which this detector was trained on"):
        audit_detector(Oracle(), data(), [painter("bright", 0.5)])


def test_the_pictures_audited_are_not_those_learnt_from(data, painter):
    found = data()
    drawn = painter("bright", 0.5).draw(100, 1)
    train = found.pictures("train")
    assert not set(TensorPictures(drawn).hashes) & set(train.hashes)


def test_a_folder_is_audited_on_what_was_held_out_of_it(data, painter):
    folder = Gallery("folder", painter("bright", 0.5).draw(400, 9))
    found = data(folder)
    other = Gallery("album", painter("darker", -0.9).draw(30, 9))
    audit = audit_detector(Oracle(), found, [other], resamples=100)
    (own,), (album,) = by_kind(audit)["trained on"], by_kind(audit)["never seen"]
    held_out = int((found.pictures("test").labels == GENERATED).sum())
    assert (own.generated, own.values["auroc"]) == (held_out, 1)
    assert (album.generated, album.values["auroc"], album.name) == (30, 0, "album (a folder)")


def test_fewer_pictures_may_be_asked_for(data):
    audit = audit_detector(Oracle(), data(), images=20, resamples=100)
    assert {(row.generated, row.real) for row in audit.rows} == {(20, 20)}


def test_changes_are_small_and_keep_the_shape():
    ramp = torch.linspace(0, 255, 16 * 16).reshape(1, 1, 16, 16).round().to(torch.uint8)
    for colours in (ramp, ramp.repeat(2, 3, 1, 1)):
        for change in CHANGES.values():
            changed = change(colours)
            assert changed.dtype == torch.uint8
            assert changed.shape == colours.shape
            assert 0 < (changed.int() - colours.int()).abs().float().mean() < 10


def test_the_verdict_names_what_wipes_the_traces_out():
    generator = np.random.default_rng(0)
    ones, guesses = np.ones(200), generator.normal(size=(2, 200))
    rows = [
        compare("conv", "trained on", ones, -ones, 100, 0.95, 0),
        compare("after JPEG", "changed alike", *guesses, 100, 0.95, 0),
        compare("after blur", "changed alike", ones, -ones, 100, 0.95, 0),
    ]
    said = verdict(rows)
    assert "It loses them after JPEG" in said
    assert "after blur" not in said


def test_data_of_other_classes_are_refused(data):
    real = data().source.real
    with pytest.raises(UserError, match="leave out data="):
        audit_detector(Oracle(), real)
    assert not is_detector(real.class_names)
    assert is_detector(CLASS_NAMES)
