import pytest

from darkroom import names
from darkroom.config import checking
from darkroom.config.composing import compose
from darkroom.errors import UserError

MODELS = [
    "digits",
    "team/digits",
    "a:b",
    ".",
    "..",
    "../x",
    "/x",
    "a b",
    "имя",
    "a.b",
    " ",
    "a/../b",
    "x" * 250,
    "v1",
    "latest",
]
ALIASES = [
    "champion",
    "latest",
    "Latest",
    "v1",
    "V22",
    "v1a",
    "v",
    "a b",
    "a/b",
    "a.b",
    "best-1",
    "имя",
    "x" * 255,
    "x" * 256,
]
TAGS = ["note", "a/b", "a//b", "../b", "/b", "a b", "a:b", "a=b", "a,b", "заметка", "x" * 250, "x" * 251, ".", "a\nb"]


def refuses(check, *arguments):
    try:
        check(*arguments)
    except UserError:
        return True
    return False


def mlflow_refuses(check, *arguments):
    from mlflow.exceptions import MlflowException

    try:
        check(*arguments)
    except MlflowException:
        return True
    return False


@pytest.mark.slow  # imports MLflow
def test_the_rules_are_those_of_mlflow():
    from mlflow.utils import validation

    def alias(name):
        validation._validate_model_alias_name(name)
        validation._validate_model_alias_name_reserved(name)

    for name in MODELS:
        assert refuses(names.check_model, "s", name) == mlflow_refuses(validation._validate_model_name, name), name
    for name in ALIASES:
        assert refuses(names.check_alias, "s", name) == mlflow_refuses(alias, name), name
    for name in TAGS:
        assert refuses(names.check_tags, "s", {name: "x"}) == mlflow_refuses(validation._validate_tag, name, "x"), name


REFUSED = {
    "train tracking.register=team/digits": "type tracking.register=team-digits.",
    "train tracking.register=a:b": "type tracking.register=a-b.",
    "train tracking.register=": "is blank",
    "train tracking.register=digits tracking.alias=latest": "type tracking.alias=champion.",
    "train tracking.register=digits tracking.alias=v1": "tracking.alias=v1 is reserved by MLflow",
    "train tracking.register=digits tracking.alias='a b'": "is no alias",
    "train tracking.register=digits metrics=none": "metrics=none knows no best",
    "sweep search=gan tracking.register=team/digits": "type tracking.register=team-digits.",
    "train tracking.experiment=' '": "tracking.experiment= is blank",
    f"train tracking.experiment={'x' * 251}": "tracking.experiment has 251 characters, and the store takes 250",
    f"train name={'x' * 251}": "name has 251 characters",
    f"train +tracking.tags.note={'x' * 8001}": "tracking.tags.note has 8001 characters, and the store takes 8000",
    "train name='\udcff'": "holds bytes that are no text",
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_the_store_would_refuse_in_the_end_is_refused_before_anything_is_loaded(words, typed, root):
    code, out, err = typed(words, instead=print)
    assert code == 2
    assert out == ""
    assert REFUSED[words] in err
    assert not any(root.iterdir())


@pytest.mark.parametrize("name", ["digits", "my digits", "имя"])
def test_what_it_takes_is_let_through(name):
    node = compose("train", [f"tracking.register={name}", f"name={name}", f"tracking.experiment=gan/{name}"])
    checking.check(node, "train")
