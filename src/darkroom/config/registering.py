"""Hydra with what it has to know of this lab: its schemas, its resolvers, and a look at each file before it is read."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.plugins.config_source import ConfigResult
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from darkroom import documents, line, paths
from darkroom.config.schema import SCHEMAS

COMPOSITION_ERRORS = (HydraException, OmegaConfBaseException, YAMLError)


def hydra_composed(name: str, overrides: list[str], overlay: Path | None, **more: Any) -> DictConfig:
    """Return what Hydra makes of overrides that are meant for it as they stand; ``more`` is for ``hydra.compose``."""
    register()
    GlobalHydra.instance().clear()  # of the configuration that the command itself was started with
    searched = [f"hydra.searchpath=[{line.literal(f'file://{overlay.resolve()}')}]"] if overlay else []
    with hydra.initialize_config_dir(str(paths.conf()), version_base="1.3"):
        return hydra.compose(name, [*overrides, *searched], **more)


@functools.cache
def register() -> None:
    """Make the schemas known to Hydra as ``schema/<command>``, and ``${darkroom.grids:}``, where it notes its grids."""
    OmegaConf.register_new_resolver("darkroom.grids", lambda: str(paths.runs() / "grids"), replace=True)
    # Where the strength of R1 and R2 begins: 1 for MNIST in batches of 64, and between the two ends of four of the six
    # schedules of Huang et al. 2024. StyleGAN2-ADA has 0.0002 for 0.08, for large pictures.
    OmegaConf.register_new_resolver("darkroom.gamma", lambda side, batch: 0.08 * side**2 / batch, replace=True)
    Plugins.instance()  # which makes Hydra's own reader known: a copy of its class, so that one is what is changed
    reader: Any = SourcesRegistry.instance().types["file"]
    reader.load_config = _read_checked(reader.load_config)
    store = ConfigStore.instance()
    for name, schema in SCHEMAS.items():
        store.store(group="schema", name=name, node=schema, package="_global_")
    store.store(name="training", node=_training())


def _training() -> DictConfig:
    """Return train.yaml as another primary can begin with: without its schema and what it says of Hydra itself."""
    file = paths.conf() / "train.yaml"
    with documents.understood(file):
        body = OmegaConf.create(documents.check_yaml(file))
    assert isinstance(body, DictConfig)
    del body["hydra"]
    listed = OmegaConf.to_container(body)
    assert isinstance(listed, dict)
    body["defaults"] = [
        entry
        for entry in listed["defaults"]
        if entry != "schema/train" and not (isinstance(entry, dict) and "hydra/" in next(iter(entry)))
    ]
    return body


def _read_checked(read: Callable[[Any, str], ConfigResult]) -> Callable[[Any, str], ConfigResult]:
    """Return Hydra's way to read a file of conf/ or of a folder of one's own, with a look at it first.

    Raises:
        UserError: it is not YAML, or far too deep or too large.
    """

    @functools.wraps(read)
    def checked(source: Any, config_path: str) -> ConfigResult:
        file = Path(source.path) / source._normalize_file_name(config_path)
        with documents.understood(file):
            if file.is_file():
                documents.check_yaml(file)
            return read(source, config_path)

    return checked
