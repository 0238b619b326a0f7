import pytest

from darkroom import paths
from darkroom.config.schema import SCHEMAS
from darkroom.errors import UserError
from darkroom.operations import table
from darkroom.operations.table import OPERATIONS
from darkroom.tracking import run, tag


@pytest.fixture
def made(store):
    """Return what makes runs with these parameters, and with a best checkpoint unless told."""

    def make(name, params, checkpoint=True, tags=None):
        with run.start(store, "experiment", name, {}, params, tags, system_metrics=None) as opened:
            if checkpoint:
                opened.log_text(table.BEST, "weights")
            return opened.id

    return make


NOISE = "darkroom.editing.degradations.Noise"
DENOISER = {"model._target_": "darkroom.models.restorer.Restorer", "model.degradation._target_": NOISE}
MOVER = {"model._target_": "darkroom.models.sequence.Sequence", "model.conditioning": "action"}


def test_the_newest_run_that_has_learnt_it_and_can_be_loaded_is_taken(store, made):
    made("old", DENOISER)
    wanted = made("wanted", DENOISER)
    made("mover", MOVER)
    made("broken", DENOISER, checkpoint=False)
    path, record = table.newest("denoise", store)
    assert record.run_id == wanted
    assert path == record.folder / table.BEST
    assert table.newest("move", store)[1].name == "mover"
    with pytest.raises(UserError, match="type darkroom train experiment=sequence/moving_digits"):
        table.newest("continue", store)
    listed = table.overview(store)
    assert f"{wanted[:8]} wanted, " in listed
    assert "broken" not in listed


def test_edits_are_no_latest_run(store, made):
    trained = made("trained", DENOISER)
    made("edit", {}, tags={tag.KIND: "edit"})
    assert store.find("latest").run_id == trained
    assert [record.name for record in store.runs()] == ["trained"]
    assert [record.name for record in store.runs("experiment")] == ["edit", "trained"]


def test_a_restorer_is_known_by_what_its_damage_is_undone_by(tmp_path, monkeypatch):
    (tmp_path / "damages.py").write_text(
        "class Damage:\n    operation = 'restore'\n\nclass Blur(Damage):\n    operation = 'deblur'\n\n"
        "class Mix(Damage):\n    pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    params = {"model._target_": "darkroom.models.restorer.Restorer"}
    for name, operation in (("Blur", "deblur"), ("Mix", "restore")):
        params["model.degradation._target_"] = f"damages.{name}"
        able = {key for key, row in OPERATIONS.items() if row.fits is not None and row.fits(params)}
        assert able == {operation}


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_row_says_what_is_so(name):
    operation = OPERATIONS[name]
    known = set(SCHEMAS["edit"].__dataclass_fields__)
    assert {key.partition(".")[0] for key in operation.listens} <= known
    assert f"operation={name} input=" in operation.example
    assert callable(operation.make())
    typed = {word.partition("=")[0] for word in operation.example.split()}
    assert typed <= {*operation.listens, *table.OF_ALL}
    assert max(map(len, table.overview(None).splitlines())) < 100


@pytest.mark.parametrize("name", OPERATIONS)
def test_what_is_advised_to_train_exists(name):
    experiment = OPERATIONS[name].train
    if experiment:
        assert (paths.conf() / f"experiment/{experiment}.yaml").is_file()


def test_every_key_says_something_to_some_operation():
    listened = {key.partition(".")[0] for operation in OPERATIONS.values() for key in operation.listens}
    assert set(SCHEMAS["edit"].__dataclass_fields__) == listened | set(table.OF_ALL)
