import math
import os
import re
import subprocess
import sys

import pytest
import torch

from darkroom import annotations, paths
from darkroom.config.checking import check, check_target, in_full
from darkroom.config.composing import compose
from darkroom.config.parts import build
from darkroom.config.recorded import digest, overlaid
from darkroom.config.spread import bare
from darkroom.errors import UserError
from darkroom.signatures import signature


def leaves(node, path=""):
    for key, value in node.items():
        inner = f"{path}.{key}" if path else key
        if isinstance(value, dict):
            yield from leaves(value, inner)
        else:
            yield inner, value


def changed(node, path, value):
    """The configuration with one setting replaced."""
    first, _, rest = path.partition(".")
    return {**node, first: changed(node[first], rest, value) if rest else value}


@pytest.fixture
def gan():
    return compose("train", [])


def refused(typed, line):
    """The sentence that a line is refused with."""

    def never(_):
        raise AssertionError("it was accepted")

    code, out, err = typed(line, instead=never)
    assert code == 2
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith(f"darkroom {line.split()[0]}: ")
    assert "Traceback" not in err
    return err


MISSPELT = {
    "train budgt.images=1": "did you mean 'budget.images'",
    "train budget.imges=1": "did you mean 'budget.images'",
    "train +budgt.images=1": "did you mean 'budget'",
    "train ++budgt.images=1": "did you mean 'budget'",
    "train +budget.imges=1": "did you mean 'images'",
    "train ++model.generator.widht=3": "did you mean 'width'",
    "train +data.source.vall=1": "did you mean 'val'",
    "train +trainer.precison=16": "did you mean 'precision'",
    "train model.latent_dimm=3": "did you mean 'model.latent_dim'",
    "train model.generator.widht=3": "did you mean 'model.generator.width'",
    "train data.source.vall=1": "did you mean 'data.source.val'",
    "train latent_dim=3": "did you mean 'model.latent_dim'",
    "train lr=0.1": "'model.generator_optimizer.lr' or 'model.discriminator_optimizer.lr'",
    "train modle=gan": "did you mean 'model'",
    "train ~seeed": "did you mean 'seed'",
    "train model=gann": "There is no model 'gann': the nearest are 'gan'",
    "train experiment=gan/mnst": "the nearest are 'gan/mnist', 'vae/mnist', 'gan/mnist_dcgan'",
    "train profile=smok": "'smoke'",
    "train network@model.generator=dcgan": "'dcgan_generator'",
    "train network@model.generatr=dcgan_generator": "type network@model.generator=",
    "train optimizer=adam": "type optimizer@model.discriminator_optimizer=<file> or",
    "train hydra/launcher=foo": "there are basic",
    "train trainer=gpuu -m seed=1,2": "'gpu'",
    "evaluate data=digts": "'digits'",
    "generate cont=3": "did you mean 'count'",
    "generate model.latent_dim=3": "There is no setting 'model.latent_dim'",
    "compare run=latest": "did you mean 'runs'",
    "reproduce runs=latest": "did you mean 'run'",
    "check foldr=x": "did you mean 'folder'",
}


@pytest.mark.parametrize("line", MISSPELT)
def test_misspelt_words_are_refused_with_the_nearest(line, typed):
    assert MISSPELT[line] in refused(typed, line)


UNREADABLE = {
    "train a=[": "'a=[' cannot be read",
    "train seed": "'seed' has no value: type seed=<value>",
    "train =3": "'=3' names no setting",
    "train gan/mnist": "type experiment=gan/mnist",
    "train generate": "type darkroom generate",
    "train seed=1,2": "or add -m",
    "train name='${a'": "cannot be read",
    "train --nope": "--nope",
    "train --cfg": "expected one argument",
    "train --cfg foo": "'job'",
    "train --config-dir /dev/null/nowhere": "--config-dir is '/dev/null/nowhere', which is no folder",
    "train --config-name foo": "There is no configuration 'foo'",
    "train seed=abc": "'seed' is 'abc', but a whole number was expected",
    "train seed=": "'seed' is '', but a whole number was expected",
    "train seed=1.5": "'seed' is '1.5', but a whole number was expected",
    "train seed=null": "'seed' is null, but it needs a value",
    "train seed=???": "'seed' has no value yet: type seed=<value>",
    "train model.latent_dim=???": "type model.latent_dim=<value>",
    "train seed='${sed}'": "'seed' refers to 'sed', and there is no such setting",
    "train name='${oc.env:NO_SUCH_VARIABLE}'": "the environment variable NO_SUCH_VARIABLE, which is not set",
    "train budget.minutes=abc": "'budget.minutes' is 'abc', but a number was expected",
    "train budget=3": "type budget.<setting>=<value>",
    "train model={a:1}": "type model.<setting>=<value>",
    "train data.batch_size=abc": "'data.batch_size' is 'abc', but a whole number was expected",
    "train data.batch_size=1.5": "a whole number was expected",
    "train data.batch_size=true": "a whole number was expected",
    "train model.conditioning=maybe": "one of none, class",
    "train model.penalty.r1=abc": "a number was expected",
    "train model.generator_optimizer.lr=fast": "a number was expected",
    "train model=3": "type model=<one of adain, autoencoder, classifier, cyclegan, denoiser, gan, pixelrnn, restorer,",
    "train data=null": "data=null names no file",
    "train ~model": "There is no model: type model=<one of adain, autoencoder, classifier, cyclegan, denoiser, gan,",
    "train ~seed": "leave out ~seed",
    "train ~budget": "leave out ~budget",
    "train model._target_=darkroom.models.gan.Gann": "defines no 'Gann'",
    "train model._target_=darkroom.nowhere.Gan": "there is no module 'darkroom.nowhere'",
    "train ~data.source": "'data.source' is missing",
    "train +model.image_shape=[1,8,8]": "not yours to set",
    "train -m seed=1,abc": "'seed' is 'abc'",
    "train trainer.log_every_n_steps=4": "type +trainer.log_every_n_steps=<value>",
    "train tracking.tags.who=me": "type +tracking.tags.who=<value>",
    "generate labels=1,4,7": "type labels=[1,4,7]",
}


@pytest.mark.parametrize("line", UNREADABLE)
def test_what_cannot_be_read_is_said_in_one_sentence(line, typed, root):
    assert UNREADABLE[line] in refused(typed, line)
    assert not any(root.iterdir())


WRONG = {
    "train precision=8": "one of 32, bf16-mixed, 16-mixed",
    "train trainer.precision=64": "'trainer.precision' follows 'precision'",
    "train model.loss=hinge2": "one of minimax, non_saturating, least_squares, hinge, wasserstein, relativistic",
    "train model.schedule.shape=cosin": "did you mean 'cosine'",
    "evaluate split=tst": "did you mean 'test'",
    "compare format=xml": "one of table, json, html",
    "train model.discriminator.normalization=batch": "type penalty@model.penalty=none",
    "train model.discriminator.normalization=batch penalty@model.penalty=dragan": "type penalty@model.penalty=none",
    "train model.discriminator.normalization=batch penalty@model.penalty=recommended": "mixes the images of a batch",
    "train network@model.discriminator=sngan_discriminator penalty@model.penalty=weight_clipping": "bounds nothing",
    "train budget.images=null": "There is no budget",
    "train resume=a fork=b": "resume and fork were both given",
    "train fork=a init=b": "one origin",
    "train trainer.max_epochs=3": "use budget.images",
    "train +trainer.max_epochs=3": "use budget.images",
    "train +trainer.max_time=3": "use budget.minutes",
    "train +trainer.gradient_clip_val=1": "use model.gradient_clip",
    "train +trainer.accumulate_grad_batches=2": "use data.batch_size",
    "train +trainer.default_root_dir=x": "DARKROOM_ROOT",
    "train +trainer.enable_progress_bar=false": "not yours to set",
    "train -m seed=1,2 trainer.devices=2": "A grid (-m) and several devices do not mix",
    "train -m seed=1,2 trainer.devices=[0,1]": "A grid (-m) and several devices do not mix",
    "train -m seed=1,2 trainer=ddp": "A grid (-m) and several devices do not mix",
    "train model=classifier optimizer@model.optimizer=sgd model.optimizer.momentum=0": "needs momentum",
    "train model.generator_optimizer.betas=0.5": "a list of two numbers was expected",
    "train model.generator_optimizer.betas=[0.5,1]": "less than 1",
    "train model.generator_optimizer.betas=[0.5,x]": "a number was expected",
    "train model.network=3": "There is no setting 'model.network'",
}


@pytest.mark.parametrize("line", WRONG)
def test_settings_that_cannot_be_are_refused(line, typed, root):
    assert WRONG[line] in refused(typed, line)
    assert not any(root.iterdir())


def overlay(folder, text, name="mine"):
    (folder / "experiment").mkdir()
    (folder / "experiment" / f"{name}.yaml").write_text(f"# @package _global_\n{text}\n")
    return f"train --config-dir {folder} experiment={name}"


@pytest.mark.parametrize(
    ("text", "fragment"),
    [
        ("budgt: {images: 1}", "'budgt' in experiment/mine.yaml (did you mean 'budget'?)"),
        ("budget: {imges: 1}", "'budget.imges' in experiment/mine.yaml (did you mean 'budget.images'?)"),
        ("model: {latent_dimm: 3}", "'model.latent_dimm': darkroom.models.gan.Gan takes no such argument"),
        ("model: {generator: {widht: 3}}", "(did you mean 'width'?)"),
        ("data: {source: {vall: 1}}", "(did you mean 'val'?)"),
        ("defaults: [override /modle: gan]", "modle"),
        ("defaults: [override /model: gann]", "There is no model 'gann': the nearest are 'gan'"),
        ("defaults: [/model: gan]", "model"),
        ("seed: abc", "'seed' is 'abc' in experiment/mine.yaml, but a whole number was expected"),
        ("budget: 3", "'budget' holds several settings in experiment/mine.yaml"),
        ("seed: [", 'mine.yaml", line 3'),
        ("name: ${nme}", "'name' refers to 'nme'"),
    ],
)
def test_mistakes_in_a_file_are_refused_and_name_it(text, fragment, tmp_path, typed):
    assert fragment in refused(typed, overlay(tmp_path, text))


def test_files_of_ones_own_are_among_the_nearest(tmp_path, typed):
    overlay(tmp_path, "seed: 3", name="mine")
    assert "'mine'" in refused(typed, f"train --config-dir {tmp_path} experiment=mien")
    seen = []
    code, _, _ = typed(f"train --config-dir {tmp_path} experiment=mine", instead=seen.append)
    assert code == 0
    assert seen[0]["seed"] == 3


def test_refusing_loads_nothing_heavy_and_leaves_nothing(tmp_path):
    lines = ["budgt.images=1", "+budgt.images=1", "++model.generator.widht=3", "model.latent_dimm=3", "model=gann",
             "a=[", "seed=abc", "data.batch_size=0"]  # fmt: skip
    program = f"""
import sys
from darkroom.__main__ import main
for line in {lines!r}:
    sys.argv = ["darkroom", "train", line]
    try:
        main()
    except SystemExit as left:
        assert left.code == 2, line
heavy = {{"torch", "mlflow", "pytorch_lightning", "numpy"}} & set(sys.modules)
assert not heavy, heavy
"""
    environment = {**os.environ, "DARKROOM_ROOT": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert len(done.stderr.splitlines()) == len(lines)
    assert not any(tmp_path.iterdir())


def taken_by(target):
    return {name: each.annotation for name, each in signature(target).parameters.items()}


def annotated(node, command, path=""):
    """Yield every setting of a configuration with the annotation of what takes it: ``(path, value, annotation)``."""
    if not path:
        node = in_full(node)
        said = taken_by(f"darkroom.config.schema.{command.title()}")
    elif "_target_" in node:
        said = taken_by(node["_target_"])
    elif schema := {"budget": "Budget", "saving": "Saving", "tracking": "Tracking", "search": "Search",
                    "search.budget": "Budget", "submit": "Submit"}.get(path):  # fmt: skip
        said = taken_by(f"darkroom.config.schema.{schema}")
    else:
        said = {}
    for key, value in node.items():
        below = f"{path}.{key}" if path else key
        if isinstance(value, dict):
            yield from annotated(value, command, below)
        elif not key.startswith("_"):
            yield below, value, said.get(key, "")


# Numbers that no range could bound, or that their own part judges: a share below 1 or a count, say.
FREE = {"val", "test", "train", "scale", "in_memory_mb"}


def test_every_number_has_a_range(everything):
    free = {
        path
        for _, command, node in everything
        for path, value, annotation in annotated(node, command)
        if type(value) in (int, float) and annotations.bounds(annotation) is None and "Literal" not in annotation
    }
    edits = {"operation.rotate", "operation.right", "operation.down"}  # of what a picture shows, in either direction
    # What a search chooses within is read by its space; the terms of a loss are a mapping, and devices a word or more.
    passed = ("search.space.", "model.loss.", "trainer.devices")
    assert {
        path for path in free - edits if path.rpartition(".")[2] not in FREE and not path.startswith(passed)
    } == set()


def bounded_settings(everything):
    """Return one place for each setting that has a range: ``{(class, setting): (command, node, path, value)}``."""
    found = {}
    for _, command, node in everything:
        for path, value, annotation in annotated(node, command):
            if annotations.bounds(annotation) is not None:
                owner = lookup(node, path.rpartition(".")[0]).get("_target_", f"{command}.{path.rpartition('.')[0]}")
                key = (owner, path.rpartition(".")[2])
                if found.get(key, (None,) * 4)[3] is None:
                    found[key] = (command, node, path, value, annotation)
    return found


def lookup(node, path):
    for part in path.split(".") if path else ():
        node = node[part]
    return node


def test_numbers_out_of_range_are_refused(everything):
    found = bounded_settings(everything)
    assert len(found) > 300
    for _, _, path, _, annotation in found.values():
        bounds = annotations.bounds(annotation)
        kinds = annotations.Plain | annotations.Listed  # beside which words may stand
        (option,) = [each for each in annotations.parsed(annotation) if isinstance(each, kinds)]
        several = option.length or 2 if isinstance(option, annotations.Listed) else 0
        plain = option.element[0] if several else option
        bad = [bounds.low if bounds.open_low else bounds.low - 1, bounds.high if bounds.open_high else bounds.high + 1]
        bad = [number for number in bad if math.isfinite(number)]
        bad += [math.nan, math.inf, -math.inf, True, "many", {}]
        for number in bad:
            with pytest.raises(UserError, match=f"'{re.escape(path)}'"):
                annotations.check(path, [number] * several if several else number, annotation)
        good = bounds.low + 1 if bounds.high == math.inf else (bounds.low + bounds.high) / 2
        good = math.ceil(good) if plain.kind == "int" else good
        annotations.check(path, [good] * several if several else good, annotation)


def test_a_number_out_of_range_is_refused_wherever_it_stands(everything):
    walked = set()
    for command, node, path, _, annotation in bounded_settings(everything).values():
        slot = (command, path.rpartition(".")[0])
        if slot in walked:
            continue
        walked.add(slot)
        option = next(each for each in annotations.parsed(annotation) if each is not None)
        several = option.length or 1 if isinstance(option, annotations.Listed) else 0
        with pytest.raises(UserError, match=f"'{re.escape(bare(path))}'"):
            check(changed(node, path, [-1e9] * several if several else -1e9), command)


def test_no_word_means_the_same_for_the_whole_lab(tmp_path, monkeypatch):
    (tmp_path / "my_flow.py").write_text(
        "from typing import Annotated\n"
        "from darkroom.numbers import NotNegative, Range, Share, Supplied\n"
        "class Path:\n"
        "    def __init__(self, sigma: NotNegative = 0.0, alpha: Share = 1.0,\n"
        "                 hold: Annotated[float, Range(-2, 2)] = 0.0, size: Supplied[int] = 3): ...\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    part = {"_target_": "my_flow.Path", "sigma": 0, "alpha": 1.0, "hold": -1.5}
    check_target("model.path", part)
    for wrong, fragment in (
        ({"sigma": -0.1}, "at least 0 was expected"),
        ({"alpha": 1.1}, "at most 1 was expected"),
        ({"hold": 3}, "at least -2 and at most 2"),
        ({"size": 4}, "not yours to set"),
    ):
        with pytest.raises(UserError, match=fragment):
            check_target("model.path", part | wrong)


def test_precision_may_be_typed_as_a_number(typed):
    seen = []
    assert typed("train precision=32", instead=seen.append)[0] == 0
    assert seen[0]["precision"] == seen[0]["trainer"]["precision"] == "32"


@pytest.mark.parametrize("digits", ["12e4", "1e400", "0123", "00", "12", "3f2a"])
def test_the_first_digits_of_a_run_stay_text(digits, typed):
    seen = []
    assert typed(f"generate checkpoint={digits}", instead=seen.append)[0] == 0
    assert typed(f"compare runs=[{digits},best]", instead=seen.append)[0] == 0
    assert seen[0]["checkpoint"] == digits
    assert seen[1]["runs"] == [digits, "best"]


def test_options_may_stand_between_settings(typed):
    code, out, _ = typed("train seed=3 --cfg job model=classifier", instead=print)
    assert code == 0
    assert "seed: 3" in out
    assert "Classifier" in out


# --- build -----------------------------------------------------------------------------------------------------------


class Part:
    def __init__(self, given, number=1, refuse=False):
        self.given, self.number = given, number
        if refuse:
            raise UserError("One sentence.")


class Whole:
    def __init__(self, part, given=None):
        self.part, self.given = part, given


HERE = "darkroom.errors.UserError"


@pytest.fixture
def named(monkeypatch):
    """The classes above, where a configuration can name them."""
    import darkroom.errors

    monkeypatch.setattr(darkroom.errors, "Part", Part, raising=False)
    monkeypatch.setattr(darkroom.errors, "Whole", Whole, raising=False)
    return "darkroom.errors"


def test_supplied_parts_are_passed_as_they_are(named):
    tensor, listed = torch.ones(3), [1, {"a": 2}]
    part = build({"_target_": f"{named}.Part", "number": 3}, given=tensor)
    assert part.given is tensor
    assert part.number == 3
    assert build({"_target_": f"{named}.Part"}, given=listed).given is listed


def test_settings_arrive_as_plain_containers(named):
    part = build({"_target_": f"{named}.Part", "given": {"a": [1, 2]}})
    assert type(part.given) is dict
    assert type(part.given["a"]) is list


def test_a_sentence_from_a_nested_part_comes_out_as_itself(named):
    inner = {"_target_": f"{named}.Part", "given": 1, "refuse": True}
    for node in (inner, {"_target_": f"{named}.Whole", "part": inner},
                 {"_target_": f"{named}.Whole", "part": {"_target_": f"{named}.Whole", "part": inner}}):  # fmt: skip
        with pytest.raises(UserError, match=r"^One sentence\.$"):
            build(node)


def test_whole_numbers_in_betas_become_floats(named):
    node = {"_target_": "torch.optim.Adam", "_partial_": True, "lr": 0.1, "betas": [0, 0.99]}
    optimizer = build(node, params=[torch.nn.Parameter(torch.zeros(1))])
    assert [type(beta) for beta in optimizer.defaults["betas"]] == [float, float]
    whole = build({"_target_": f"{named}.Whole", "part": node})
    assert whole.part(params=[torch.nn.Parameter(torch.zeros(1))]).defaults["betas"] == (0.0, 0.99)


def test_instantiate_is_called_in_one_place():
    calls = [
        (str(file.relative_to(paths.PACKAGE)), line)
        for file in paths.PACKAGE.rglob("*.py")
        for line in file.read_text().splitlines()
        if "instantiate(" in line
    ]
    assert [name for name, _ in calls] == ["config/parts.py"]


# --- what a run keeps of its configuration ---------------------------------------------------------------------------


def test_equal_results_have_equal_digests(gan):
    same = [("name", "x"), ("paths.data", "/y"), ("tracking.log_every", 1), ("saving.samples", 1), ("fork", "a")]
    other = [
        ("seed", 1),
        ("model.penalty.r1", 0.5),
        ("budget.images", 5),
        ("data.batch_size", 8),
        ("precision", "16-mixed"),
    ]
    digests = {digest(changed(gan, path, value)) for path, value in same}
    assert digests == {digest(gan)}
    assert len({digest(changed(gan, path, value)) for path, value in other} | digests) == len(other) + 1


def test_overlaid_takes_single_settings_and_refuses_strangers(gan):
    composed = changed(changed(gan, "budget.images", 7), "seed", 9)
    result = overlaid(gan, composed, {"budget.images"})
    assert (result["budget"]["images"], result["seed"]) == (7, gan["seed"])
    assert gan["budget"]["images"] != 7
    with pytest.raises(UserError, match=r"'model\.depth' cannot be changed"):
        overlaid(gan, composed, {"model.depth"})


@pytest.mark.parametrize("error", [MemoryError("91.3 TiB"), RuntimeError("CUDA out of memory. Tried to allocate 2 GB")])
def test_want_of_memory_is_a_sentence(error, typed, root):
    def ask(_):
        raise error

    code, _, err = typed("train", instead=ask)
    assert code == 1
    assert "not enough memory for what is asked" in err
    assert str(error) in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("data", "setting"),
    [
        ("shapes", "source.train"),
        ("moving_mnist", "source.val"),
        ("transforms", "source.test"),
        ("photos", "source.patches"),
    ],
)
def test_what_is_drawn_has_an_end(data, setting, typed, root):
    code, _, err = typed(f"train data={data} data.{setting}=1000000000000", instead=print)
    assert code == 2
    assert "at most 10000000" in err
