"""From a configuration of metrics to metrics with their judge at hand: shipped, kept, frozen from a run, or taught."""

from collections.abc import Callable
from pathlib import Path

from darkroom import digests, lab, paths
from darkroom.config import several
from darkroom.config.nodes import Node
from darkroom.data.contract import Progress
from darkroom.data.module import ImageData
from darkroom.errors import UserError
from darkroom.judges.certifying import certify
from darkroom.judges.judge import Judge, frozen_before
from darkroom.judges.teaching import check_plain, freeze
from darkroom.metrics.metric import Metric
from darkroom.models.classifier import Classifier
from darkroom.models.model import Model
from darkroom.tracking import checkpoints
from darkroom.tracking.store import Store


def pinned_judge(node: Node) -> Node:
    """Return the configuration of metrics with each run that judges named by its id: what is `latest` changes.

    Raises:
        UserError: no such run.
    """

    def pinned(part: Node) -> Node:
        if not _judge_is_run(part):
            return part
        path = _run_that_judges(part["judge"])
        run = lab.run_id_of(path)
        return {**part, "judge": f"{run}/{path.stem}" if run else str(path)}

    return several.changed(node, pinned)


def open_metrics(
    node: Node, data: ImageData, say: Callable[[str], None], folder: str | None = None, model: Model | None = None
) -> Metric:
    """Return the metrics with all at hand that they take; a judge that does not exist yet is made now, and kept.

    ``folder`` is where the data lie that a judge's run was trained on; without a model pictures alone are scored.

    Raises:
        UserError: the metrics cannot score the model or these data, or there is no judge that could.
    """

    def frozen(part: Node) -> Node:
        return {**part, "judge": str(_judge_of_run(part["judge"], folder, say))} if _judge_is_run(part) else part

    metrics = lab.metrics_of(several.changed(node, frozen))
    if model is not None:
        lab.check_able(metrics, model)
    for part in metrics.parts.values():
        part.prepare(model, data, say)
    return metrics


def _judge_is_run(node: Node) -> bool:
    name = str(node.get("judge") or "")
    return bool(name) and name not in ("domain", "inception") and not name.endswith(".safetensors")


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
