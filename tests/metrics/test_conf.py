import importlib
import inspect

import pytest
import yaml

from darkroom import paths
from darkroom.config import several

FILES = sorted((paths.conf() / "metrics").glob("*.yaml"))


def composed(path):
    settings = yaml.safe_load(path.read_text())
    for parent in settings.pop("defaults", []):
        if parent != "_self_":
            settings = composed(path.parent / f"{parent}.yaml") | settings
    return settings


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_configuration_names_constructor_parameters(path):
    for settings in several.named(composed(path)).values():
        module, name = settings.pop("_target_").rsplit(".", 1)
        cls = getattr(importlib.import_module(module), name)
        assert settings.keys() == inspect.signature(cls).parameters.keys()
        assert cls(**settings).every is None or cls(**settings).every > 0


def test_there_is_something_to_choose():
    assert {"autoencoding", "classification", "generative", "inception", "likelihood", "restoration"} <= {
        path.stem for path in FILES
    }
