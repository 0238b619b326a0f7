import pytest

from darkroom import paths
from darkroom.config.parts import located
from darkroom.config.schema import SCHEMAS
from darkroom.operations import known
from darkroom.signatures import signature
from darkroom.tracking import run, tag

KNOWN = known.known()


@pytest.fixture
def made(store):
    """Return what makes runs with these parameters, and with a best checkpoint unless told."""

    def make(name, params, checkpoint=True, tags=None):
        with run.start(store, "experiment", name, {}, params, tags, system_metrics=None) as opened:
            if checkpoint:
                opened.log_text(known.BEST, "weights")
            return opened.id

    return make


NOISE = "darkroom.imaging.degradations.Noise"
DENOISER = {"model._target_": "darkroom.models.restorer.Restorer", "model.degradation._target_": NOISE}
MOVER = {"model._target_": "darkroom.models.sequence.Sequence", "model.conditioning": "action"}


def newest(name, store):
    operation = KNOWN[name]
    return known.newest(located(operation.needs), operation.like, store)


def test_the_newest_run_that_has_learnt_it_and_can_be_loaded_is_taken(store, made):
    made("old", DENOISER)
    wanted = made("wanted", DENOISER)
    made("mover", MOVER)
    made("broken", DENOISER, checkpoint=False)
    path, record = newest("denoise", store)
    assert record.run_id == wanted
    assert path == record.folder / known.BEST
    assert newest("move", store)[1].name == "mover"
    assert newest("continue", store) is None
    listed = known.overview(store)
    assert f"{wanted[:8]} wanted, " in listed
    assert "broken" not in listed


def test_a_run_is_known_by_what_its_classes_were_recorded_by(store, made):
    made("old", DENOISER | {"model.degradation._target_": "darkroom.editing.degradations.Noise"})
    _, record = newest("denoise", store)
    assert record.name == "old"
    assert record.params["model.degradation._target_"] == NOISE


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
        assert {key for key, row in KNOWN.items() if row.fits(params)} == {operation}


def test_a_film_goes_on_with_whatever_is_not_told_what_is_done(tmp_path, monkeypatch):
    (tmp_path / "films.py").write_text("class Film:\n    def forecast(self): ...\n    def noise(self): ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    told, plain, own = MOVER, {**MOVER, "model.conditioning": "none"}, {"model._target_": "films.Film"}
    assert [KNOWN["continue"].fits(params) for params in (told, plain, own)] == [False, True, True]
    assert [KNOWN["move"].fits(params) for params in (told, plain, own)] == [True, False, False]


@pytest.mark.parametrize("name", KNOWN)
def test_what_is_read_from_the_source_is_so(name):
    operation = KNOWN[name]
    kind = located(operation.target)
    for said in ("does", "example", "train", "optional", "files", "masked", "ending", "like"):
        assert getattr(operation, said) == getattr(kind, said, getattr(known.Known, said, None) or PLAIN.get(said))
    assert operation.needs == f"{kind.needs.__module__}.{kind.needs.__qualname__}"
    assert operation.name == kind.__name__.lower()
    assert set(operation.settings) == set(signature(operation.target).parameters)
    shared = set(SCHEMAS["edit"].__dataclass_fields__)
    assert not set(operation.settings) & shared - {"seed"}
    assert {key.partition(".")[0] for key in operation.listens} <= {*shared, *operation.settings, "local"}
    assert f"operation={name} input=" in operation.example
    assert {word.partition("=")[0] for word in operation.example.split()} <= set(operation.listens)
    assert max(map(len, known.overview(None).splitlines())) < 100


PLAIN = {"masked": False, "ending": ".png"}


@pytest.mark.parametrize("name", KNOWN)
def test_what_is_advised_to_train_exists(name):
    assert (paths.conf() / f"experiment/{KNOWN[name].train}.yaml").is_file()


def test_every_key_says_something_to_some_operation():
    listened = {key.partition(".")[0] for operation in KNOWN.values() for key in operation.listens}
    assert set(SCHEMAS["edit"].__dataclass_fields__) <= listened
