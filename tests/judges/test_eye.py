import pytest
import torch

from darkroom.data.source import HELD_OUT, SEEN, AttributeData
from darkroom.errors import UserError
from darkroom.judges import eye as eyes
from darkroom.judges.eye import Eye

NAMES = {"colour": ["red", "green", "blue"], "side": ["left", "right"]}


def pictured(colours, sides, generator):
    pixels = torch.randint(0, 60, (len(colours), 3, 8, 8), generator=generator, dtype=torch.uint8)
    for picture, colour, side in zip(pixels, colours.tolist(), sides.tolist(), strict=True):
        picture[colour, 2:6, 1 + 4 * side : 3 + 4 * side] += 180
    return pixels


class Patches:
    """A patch of one of three colours on one of two sides; blue is never on the right but in the test split."""

    name, image_shape, class_names, flippable, digest, held_out = "patches", (3, 8, 8), [], False, "0" * 64, None

    def __init__(self, lies=False):
        generator = torch.Generator().manual_seed(1)
        self.colours, self.sides = torch.arange(60) % 3, torch.arange(60) // 3 % 2
        self.pixels = pictured(self.colours, self.sides, generator)
        self.lies = lies
        self.lessons = 0

    def __len__(self):
        return 60

    def pictures(self, split):
        return self

    def batch(self, indices):
        return self.pixels[indices]

    def captions(self, split):
        columns = self.attributes(split)
        return [f"a {colour} {side}" for colour, side in zip(columns["colour"], columns["side"], strict=True)]

    def attributes(self, split):
        colours = self.colours.roll(1) if self.lies else self.colours
        both = list(zip(colours.tolist(), self.sides.tolist(), strict=True))
        return {
            "colour": [NAMES["colour"][colour] for colour, _ in both],
            "side": [NAMES["side"][side] for _, side in both],
            "combination": [HELD_OUT if pair == (2, 1) else SEEN for pair in both],
        }

    def attribute_data(self, count):
        self.lessons += 1
        generator = torch.Generator().manual_seed(2)
        targets = {
            "colour": torch.randint(0, 3, (count,), generator=generator),
            "side": torch.randint(0, 2, (count,), generator=generator),
        }
        return AttributeData(pictured(targets["colour"], targets["side"], generator), NAMES, targets)


@pytest.fixture
def short(monkeypatch):
    monkeypatch.setattr(eyes, "LESSON", 2560)


def test_an_eye_is_taught_once_and_reads_what_pictures_show(short, tmp_path, monkeypatch, random_state):
    data = Patches()
    before = random_state()
    eye = Eye.of(data, tmp_path)
    assert random_state() == before
    assert eye.accuracy == 1
    read = eye.read(data.pixels)
    assert read["colour"].tolist() == data.colours.tolist()
    assert read["side"].tolist() == data.sides.tolist()
    monkeypatch.setattr(eyes, "teach", lambda *_: pytest.fail("taught again"))
    assert Eye.of(data, tmp_path).hash == eye.hash


def test_an_eye_that_misreads_real_pictures_judges_nobody(short, tmp_path):
    with pytest.raises(UserError, match=r"reads only .* right on the real pictures"):
        Eye.of(Patches(lies=True), tmp_path)


def test_without_a_lesson_there_is_no_eye(tmp_path):
    data = Patches()
    data.attribute_data = lambda count: None
    assert Eye.of(data, tmp_path) is None


def test_obedience_counts_attributes_and_whole_prompts_apart_for_what_was_held_out():
    right = torch.tensor([[1.0, 1.0], [1.0, 0.0], [0.0, 0.0], [1.0, 1.0]])
    found = eyes.obedience(right, ["colour", "side"], [SEEN, SEEN, HELD_OUT, HELD_OUT])
    assert found == {
        "attribute_accuracy_seen": 0.75,
        "prompt_accuracy_seen": 0.5,
        "attribute_accuracy_held_out": 0.5,
        "prompt_accuracy_held_out": 0.5,
        "accuracy_of_colour": 0.75,
        "accuracy_of_side": 0.5,
    }
    assert "prompt_accuracy_held_out" not in eyes.obedience(right, ["colour", "side"], None)


class Copyist:
    """Draws what each caption says, or, when deaf, the same for all; remembers what it was asked."""

    device, classes, averaged = torch.device("cpu"), 0, True

    def __init__(self, vocabulary, deaf=False):
        self.vocabulary, self.deaf = vocabulary, deaf

    def sample(self, indices, seed, labels=None):
        from darkroom.images import from_uint8

        words = [[self.vocabulary.words[token - 1] for token in line if token] for line in labels.tolist()]
        colours = torch.tensor([NAMES["colour"].index(line[1]) for line in words])
        sides = torch.tensor([NAMES["side"].index(line[2]) for line in words])
        if self.deaf:
            colours, sides = torch.zeros_like(colours), torch.zeros_like(sides)
        return from_uint8(pictured(colours, sides, torch.Generator().manual_seed(3)))


def test_a_model_is_asked_the_captions_of_the_split_and_held_to_them(short, tmp_path, make_judge):
    from darkroom.captions import Vocabulary
    from darkroom.metrics.generative import Generative

    data = Patches()
    data.split_digests = dict.fromkeys(("train", "val", "test"), "1" * 64)
    judge = make_judge(channels=3, size=8, name="patches", class_names=["one", "other"])
    metric = Generative(judge=str(judge.save(tmp_path)), test_images=130, kid_subsets=2, cache=str(tmp_path))
    vocabulary = Vocabulary.of(data.captions("test"))
    obedient = metric.score(Copyist(vocabulary), data, "test", exact=True)
    for name in ("attribute_accuracy_seen", "prompt_accuracy_held_out", "accuracy_of_side"):
        assert obedient.values[name] == obedient.values[f"{name}_oracle"] == 1
    assert obedient.protocol["eye_hash"] == metric.eye(Copyist(vocabulary), data).hash
    deaf = metric.score(Copyist(vocabulary, deaf=True), data, "test").values
    assert deaf["accuracy_of_colour"] == pytest.approx(1 / 3, abs=0.02)
    assert deaf["prompt_accuracy_held_out"] == 0
    assert deaf["attribute_accuracy_held_out"] == 0
