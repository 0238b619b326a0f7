"""What a model can do is told by what it defines, before it is built and after, and by nothing else anywhere."""

import ast
import importlib
from types import SimpleNamespace
from typing import Protocol, runtime_checkable

import pytest

from darkroom import lab, paths
from darkroom.config import several
from darkroom.config.composing import compose
from darkroom.config.groups import options
from darkroom.config.parts import located
from darkroom.errors import UserError
from darkroom.metrics.metric import Metric
from darkroom.models import abilities
from darkroom.models.abilities import (
    Classifies,
    Completes,
    Draws,
    DrawsVariously,
    Encodes,
    EncodesAndDraws,
    Forecasts,
    HasLikelihood,
    Infers,
    Renders,
    Repairs,
    Restores,
    Stylises,
    Translates,
    Traverses,
)
from darkroom.models.model import Sampler
from darkroom.operations import known
from darkroom.signatures import members

ALL = [kind for kind in vars(abilities).values() if isinstance(kind, type) and kind in abilities._LACKS]
CAN = {
    "adain": {Stylises},
    "autoencoder": {Draws, DrawsVariously, Encodes, EncodesAndDraws, Renders, Traverses, Restores},
    "classifier": {Classifies, abilities.Calibrated},
    "cyclegan": {Translates},
    "denoiser": {Restores, Repairs, abilities.Decides},
    "gan": {Draws, Renders, abilities.Discriminates},
    "pixelrnn": {Draws, HasLikelihood, Completes},
    "restorer": {Restores, Repairs, abilities.Decides},
    "sequence": {Forecasts},
    "stylizer": {Stylises},
    "vae": {Draws, DrawsVariously, Encodes, EncodesAndDraws, Infers, Renders, Traverses},
    "vqvae": {Draws, Encodes, EncodesAndDraws},
}
METRICS = {
    "adain": "style",
    "autoencoder": "autoencoding",
    "classifier": "classification",
    "cyclegan": "translation",
    "denoiser": "restoration",
    "gan": "generative",
    "pixelrnn": "exact_likelihood",
    "restorer": "restoration",
    "sequence": "forecasting",
    "stylizer": "style",
    "vae": "autoencoding",
    "vqvae": "autoencoding",
}


def target(model):
    return compose("train", [f"model={model}"])["model"]["_target_"]


def bare(kind):
    """Return a model of a class that has not been built, with what its constructor would set."""
    made = kind.__new__(kind)
    for name in members(f"{kind.__module__}.{kind.__qualname__}") - set(dir(kind)):
        made.__dict__[name] = SimpleNamespace(name="prior")  # of samplers
    return made


@pytest.mark.parametrize("model", options("model"))
def test_before_it_is_built_and_after_a_model_can_do_the_same(model):
    named = target(model)
    assert {ability for ability in ALL if abilities.methods(ability) <= members(named)} == CAN[model]
    built = bare(located(named))
    assert {ability for ability in ALL if isinstance(built, ability)} == CAN[model]


@pytest.mark.parametrize("model", options("model"))
def test_the_metrics_that_ask_most_are_the_ones_a_model_is_given(model):
    chosen = several.named(compose("train", [f"model={model}"])["metrics"])
    suited = lab._suited(bare(located(target(model))))
    assert suited == METRICS[model]
    assert several.named(compose("train", [f"metrics={suited}"])["metrics"]) == chosen


@pytest.mark.parametrize("ability", ALL)
def test_who_has_not_an_ability_is_told_so(ability):
    class Idle:
        """Can do nothing."""

    class Wanting(Metric):
        needs = ability

    lacking = "a|".join(["", abilities.lacks(ability)])
    with pytest.raises(UserError, match=rf"^A Idle {lacking[2:]} that metrics=wanting could score: type metrics=none"):
        lab.check_fit(Wanting(), Idle(), None)


def test_an_ability_from_anywhere_is_one_too():
    @runtime_checkable
    class Segments(Protocol):
        def segment(self, images): ...

    class Segmenter:
        def segment(self, images): ...

    class Overlap(Metric):
        needs = Segments

    assert abilities.methods(Segments) == {"segment"}
    lab.check_fit(Overlap(), Segmenter(), None)
    with pytest.raises(UserError, match=r"^A Sampler has no Segments that metrics=overlap could score"):
        lab.check_fit(Overlap(), bare(Sampler), None)


def test_a_family_from_anywhere_can_do_what_it_defines(tmp_path, monkeypatch):
    (tmp_path / "my_lab").mkdir()
    (tmp_path / "my_lab" / "flow.py").write_text(
        "from darkroom.models.model import Sampler\n\n\n"
        "class Flow(Sampler):\n"
        "    def vectors(self, labels): ...\n"
        "    def rendered(self, latents, vectors): ...\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    params = {"model._target_": "my_lab.flow.Flow"}
    fitting = {name for name, operation in known.known().items() if operation.fits(params)}
    assert fitting == {"attribute", "interpolate"}
    assert issubclass(importlib.import_module("my_lab.flow").Flow, Sampler)


# What asks a thing of another package what it has.
ASKING = {
    ("commands/train.py", "rank"),
    ("data/videos.py", "n_frames"),
    ("picture_files/others.py", "n_frames"),
    ("reporting/album.py", "n_frames"),
}
ROOMS = (
    "audits",
    "callbacks",
    "commands",
    "data",
    "editing",
    "explaining",
    "imaging",
    "judges",
    "losses",
    "metrics",
    "models",
    "networks",
)
ROOMS += ("operations", "reporting", "lab.py", "judging.py", "drawing.py", "trained.py")
FAMILIES = {located(target(model)).__name__ for model in options("model")} | {"Coder", "Sampler"}
FAMILIES |= {"Generative", "Autoencoding", "Likelihood", "ExactLikelihood", "Classification", "Restoration"}
FAMILIES |= {"Forecasting", "Style", "Translation"}


def sources():
    for room in ROOMS:
        place = paths.PACKAGE / room
        for path in [place] if place.is_file() else sorted(place.rglob("*.py")):
            yield str(path.relative_to(paths.PACKAGE)), ast.parse(path.read_text())


def test_nobody_asks_by_a_string_what_a_model_has_nor_what_family_it_is():
    found = []
    for name, tree in sources():
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or len(node.args) < 2:
                continue
            what = node.args[1]
            named = what.value if isinstance(what, ast.Constant) else None
            if node.func.id in ("hasattr", "getattr") and named and (name, named) not in ASKING:
                found.append((name, ast.unparse(node)))
            if node.func.id == "isinstance":
                asked = {part.id for part in ast.walk(what) if isinstance(part, ast.Name)}
                if asked & FAMILIES and (name, ast.unparse(node)) != ("judging.py", "isinstance(model, Classifier)"):
                    found.append((name, ast.unparse(node)))
    assert found == []
