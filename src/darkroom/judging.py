"""From a configuration of metrics to metrics with their judge at hand: shipped, kept, frozen from a run, or taught."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from darkroom import lab, paths
from darkroom.config.checking import check_part
from darkroom.config.parts import build
from darkroom.data.module import ImageData
from darkroom.errors import UserError
from darkroom.metrics import digests
from darkroom.metrics.certificate import certify
from darkroom.metrics.features import Judge, NoJudge, frozen_before
from darkroom.metrics.judge import PUZZLES, check_plain, freeze, train_judge
from darkroom.metrics.metric import Judged, Metric
from darkroom.metrics.subjects import Progress
from darkroom.models.abilities import Draws
from darkroom.models.classifier import Classifier
from darkroom.models.model import Model
from darkroom.tracking import checkpoints
from darkroom.tracking.store import Store

Node = dict[str, Any]


def pinned_judge(node: Node) -> Node:
    """Return the configuration of metrics with the run that judges named by its id: what is `latest` changes.

    Raises:
        UserError: no such run.
    """
    if not _judge_is_run(node):
        return node
    path = _run_that_judges(node["judge"])
    run = lab.run_id_of(path)
    return {**node, "judge": f"{run}/{path.stem}" if run else str(path)}


def open_metrics(node: Node, data: ImageData, say: Callable[[str], None], folder: str | None = None) -> Metric:
    """Return the metrics with their judge at hand; one that does not exist yet is made now, and kept.

    ``folder`` is where the data lie that a judge's run was trained on.

    Raises:
        UserError: the metrics cannot score these data, or there is no judge that could.
    """
    if _judge_is_run(node):
        kept = _judge_of_run(node["judge"], folder, say)
        node = {**node, "judge": str(kept)}
    check_part(node, "metrics")
    metrics = build(node)
    if not isinstance(metrics, Metric):
        raise UserError(f"metrics._target_ is '{node['_target_']}', and metrics are darkroom.metrics.metric.Metric.")
    if isinstance(metrics, Judged):
        try:
            extractor = metrics.extractor(data)
        except NoJudge:
            _teach(data.everything, metrics.cache / "judges", say)
            extractor = metrics.extractor(data)
        if extractor.image_shape is not None:
            channels, height, width = data.image_shape
            extractor.matched_channels(torch.empty(0, channels, height, width), extractor.image_shape[0])
        if isinstance(extractor, Judge):
            _heed_certificate(extractor, say)
    return metrics


def open_eye(metrics: Any, model: Model, data: ImageData, say: Callable[[str], None]) -> None:
    """Have the eye at hand that tells whether a model that reads captions draws what they say; teach it if need be.

    Raises:
        UserError: it cannot read the attributes of these data well enough.
    """
    if not isinstance(metrics, Judged) or not isinstance(model, Draws) or not model.vocabulary:
        return
    say(f"Pictures of '{data.name}' are read by an eye for their attributes: if there is none yet, it is taught now.")
    if (eye := metrics.eye(model, data)) is None:
        say("Whether captions are obeyed is not scored: nobody knows for certain what these pictures show.")
    else:
        say(f"It reads {eye.accuracy:.1%} of the attributes of real pictures right.")


def _judge_is_run(node: Node) -> bool:
    name = str(node.get("judge") or "")
    return bool(name) and name not in ("domain", "inception") and not name.endswith(".safetensors")


def _teach(data: ImageData, folder: Path, say: Callable[[str], None]) -> None:
    """Make and keep the judge of some data."""
    lesson = f"its {len(data.class_names)} classes" if data.class_names else f"{PUZZLES}, since there are no classes"
    say(f"There is no judge for '{data.name}' yet: teaching one {lesson}.")
    judge = train_judge(data)
    judge.certificate = certify(judge, data)
    kept = judge.save(folder)
    what = "validation pictures" if data.class_names else "turns of validation pictures"
    say(f"It names {judge.training_record.val_accuracy:.1%} of the {what} right, and is kept as {kept}.")


def _heed_certificate(judge: Judge, say: Callable[[str], None]) -> None:
    """Warn of a judge that was not certified; refuse one that nothing else speaks for.

    Raises:
        UserError: a judge that was taught without classes and is not certified.
    """
    name = f"the judge {judge.name}-{judge.hash[:8]}"
    if judge.certificate is None:
        say(f"Nobody knows whether {name} sees damage: it has no certificate, which darkroom judge gives.")
    elif not judge.certificate.passed and judge.training_record.taught == PUZZLES:
        raise UserError(
            f"{name[0].upper()}{name[1:]} was taught without classes and failed its certificate"
            f" ({judge.certificate.reasons}): type metrics=none, or give it more pictures."
        )
    elif not judge.certificate.passed:
        say(f"Read its numbers with care: {name} failed its certificate ({judge.certificate.reasons}).")


def _judge_of_run(reference: str, folder: str | None, say: Callable[[str], None]) -> Path:
    """Return the file of the judge that a run's network makes, made before or now."""
    path = _run_that_judges(reference)
    keep = paths.cache() / "judges" / "of_runs"  # where metrics.judge=domain does not look
    network = _judging(path)[0].inference_network
    if before := frozen_before(digests.of_tensors(network.state_dict()), keep):
        return before
    say(f"Freezing the network of {reference} as the judge.")
    judge, data = freeze_run(path, folder)
    judge.certificate = certify(judge, data)
    kept = judge.save(keep)
    say(f"It names {judge.training_record.val_accuracy:.1%} of its validation pictures right, and is kept as {kept}.")
    return kept


def _run_that_judges(reference: str) -> Path:
    try:
        return checkpoints.locate(reference, Store.open(paths.root(), reading=True))
    except UserError as error:
        raise UserError(
            f"metrics.judge={reference} is neither domain nor inception nor the path of a .safetensors file, so it was"
            f" taken for a run: {error}"
        ) from error


def _judging(path: Path) -> tuple[Classifier, lab.Description]:
    """Return the classifier of a checkpoint whose network can be a judge.

    Raises:
        UserError: it holds another family, or a network that cannot be one.
    """
    model, description = lab.restore(path)
    if not isinstance(model, Classifier):
        raise UserError(
            f"{path.parents[2].name[:8]} is a {description.family}, and a judge is made of a classifier's network: name"
            " a run of model=classifier."
        )
    target = str(description.config["model"]["network"]["_target_"])
    if not target.startswith("darkroom.networks."):
        raise UserError(
            f"The network of {path.parents[2].name[:8]} is {target}, which a judge's file could not name: train one of"
            " this lab's, such as network@model.network=convnet."
        )
    check_plain(model.inference_network, target.removeprefix("darkroom.networks."))
    return model, description


def freeze_run(path: Path, folder: str | None, progress: Progress | None = None) -> tuple[Judge, ImageData]:
    """Return the network of a classifier's checkpoint as a judge, not yet certified, and the data it learned from.

    Raises:
        UserError: no classifier, a network that cannot be a judge, or other data than it learned from.
    """
    model, description = _judging(path)
    recorded = description.config
    data = lab.open_recorded(recorded, folder)
    if data.digest != description.data_digest:
        raise UserError(
            f"The data are not those the run was trained on (digest {data.digest[:8]}, recorded"
            f" {description.data_digest[:8]}): point paths.data to the same files."
        )
    data = data.everything
    node = recorded["model"]["network"]
    arguments = {key: value for key, value in node.items() if not key.startswith("_")}
    judge = freeze(
        model.inference_network,
        str(node["_target_"]).removeprefix("darkroom.networks."),
        arguments | {"channels": data.image_shape[0], "classes": len(data.class_names)},
        data,
        images_seen=model.images_seen,
        seed=recorded["seed"],
        made_with=f"frozen from the run {lab.run_id_of(path) or path.name},"
        f" experiment {recorded['tracking']['experiment']}",
        progress=progress,
    )
    return judge, data
