import importlib
import importlib.util

import pytest

from darkroom import recorded_names

NOW = sorted(
    {*recorded_names._MODULES.values(), *(name.rpartition(".")[0] for name in recorded_names._CLASSES.values())}
)


@pytest.mark.parametrize("module", NOW)
def test_every_module_is_there(module):
    importlib.import_module(module)


@pytest.mark.parametrize("module", recorded_names._MODULES)
def test_no_recorded_name_means_two_things(module):
    room = module.rpartition(".")[0]
    assert importlib.util.find_spec(room) is None or importlib.util.find_spec(module) is None
    assert recorded_names.first(recorded_names.now(f"{module}.Thing")) == f"{module}.Thing"


def test_names_are_followed_in_texts_and_nothing_else_is():
    noise, recorded = "darkroom.imaging.degradations.Noise", "darkroom.editing.degradations.Noise"
    assert recorded_names.now(recorded) == noise
    assert recorded_names.now(f"[{{'_target_': '{recorded}'}}, {{'_target_': '{noise}'}}]").count(noise) == 2
    for other in ("64", "darkroom.editing.degradations", f"my.{recorded}", recorded.replace("ns.", "ns_own.")):
        assert recorded_names.now(other) == other
    assert recorded_names.now("darkroom.scaling.on_ray.trainer") == "darkroom.scaling.ray_trainer.RayTrainer"
