import pytest

from darkroom.baselines import Reference
from darkroom.config import several as by_name
from darkroom.config.checking import check, in_full
from darkroom.config.composing import compose
from darkroom.errors import UserError
from darkroom.metrics import several
from darkroom.metrics.metric import Metric, judged
from darkroom.metrics.scores import Scores
from darkroom.metrics.several import Several


class Told(Metric):
    """Says what it is told to."""

    def __init__(self, objective=None, every=10, **values):
        self.objective, self.every, self.values = objective, every, values
        self.asked = []

    def score(self, model, data, split, exact=False, progress=None):
        self.asked.append(split)
        noise = {"fid_noise": Reference("fid", "noise")} if "fid_noise" in self.values else {}
        return Scores(dict(self.values), {"images": len(self.values)}, references=noise)


def test_the_leading_one_decides_and_names_are_told_apart():
    first, second = Told(("loss", "min"), loss=1.0), Told(("fid", "min"), fid=2.0, fid_noise=9.0, loss=3.0)
    both = Several({"a": first, "b": second}, "b")
    assert both.objective == ("fid", "min")
    assert list(both.parts) == ["b", "a"]
    scores = both.score(None, None, "val")
    assert scores.values == {"fid": 2.0, "fid_noise": 9.0, "loss": 3.0, "a_loss": 1.0}
    assert scores.protocol == {"images": 3, "a.images": 1}
    assert scores.references == {"fid_noise": Reference("fid", "noise")}
    ranked = Scores({}, {"images": 3})
    assert scores.protocol_digest == ranked.protocol_digest  # what else was measured is no reason not to rank


def test_what_stands_beside_a_number_goes_along_with_its_name():
    one = Told(("fid", "min"), fid=1.0, fid_noise=5.0)
    scores = Several({"one": one, "two": Told(fid=2.0, fid_noise=6.0)}).score(None, None, "val")
    assert scores.references["two_fid_noise"] == Reference("two_fid", "noise")
    assert scores.own == {"fid": 1.0, "two_fid": 2.0}


def test_only_those_that_are_due_are_asked():
    parts = {"often": Told(("a", "min"), a=1.0), "seldom": Told(b=2.0)}
    scores = several.score(Several(parts), ["often"], None, None, "val")
    assert scores.values == {"a": 1.0}
    assert parts["seldom"].asked == []
    single = Told(("a", "min"), a=1.0)
    assert several.score(single, [""], None, None, "val").values == {"a": 1.0}
    assert judged(single) is None


def test_what_stands_beside_several_is_of_all_that_take_it():
    node = {
        "every": 5,
        "nll_samples": 3,
        "objective": "likelihood",
        "drawn": {"_target_": "darkroom.metrics.generative.Generative"},
        "likelihood": {"_target_": "darkroom.metrics.autoencoding.Likelihood", "every": 7},
    }
    parts = by_name.named(node)
    assert parts["drawn"] == {"every": 5, **node["drawn"]}
    assert parts["likelihood"] == {"nll_samples": 3, **node["likelihood"]}
    assert by_name.leading(node) == parts["likelihood"]
    assert by_name.path_of(node, "every") == "metrics.every"
    assert by_name.path_of({**node, "every": {}}, "images") == "metrics.likelihood.images"
    by_name.check(node)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("metrics=several", "There are no metrics"),
        ("metrics=generative,classification metrics.objective=fid", "one of generative, classification was expected"),
        ("metrics=generative,classification +metrics.evry=3", "no setting 'metrics.evry' (did you mean 'every'"),
        ("metrics=generative,classification metrics.generative.images=-3", "'metrics.generative.images' is -3"),
        ("model=vae metrics.images=-3", "is -3"),
        ("model=vae metrics.drawn=null", "one of reconstructed, coded was expected"),
    ],
)
def test_what_cannot_be_is_said_when_it_is_typed(line, words):
    with pytest.raises(UserError) as refused:
        check(compose("train", line.split()), "train")
    assert words in str(refused.value)


def test_a_line_names_several_and_may_turn_each():
    node = compose("train", ["metrics=generative,exact_likelihood", "metrics.generative.images=7"])
    assert by_name.leading(node["metrics"])["_target_"].endswith("Generative")
    parts = in_full(node)["metrics"]
    assert parts["generative"]["images"] == 7
    assert parts["exact_likelihood"]["_target_"].endswith("ExactLikelihood")
