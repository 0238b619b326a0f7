"""What is refused together: settings that are each fine, in a run and in a sweep."""

from collections.abc import Mapping

from darkroom import names
from darkroom.config import several
from darkroom.config.groups import options
from darkroom.config.nodes import Node, targets
from darkroom.errors import UserError, did_you_mean

# What Lightning would take, and why this lab does not: the setting to use instead.
NOT_THE_TRAINERS = {
    "max_epochs": "budget.images",
    "max_steps": "budget.images",
    "max_time": "budget.minutes",
    "gradient_clip_val": "model.gradient_clip",
    "accumulate_grad_batches": "data.batch_size",
    "enable_checkpointing": "saving.every_minutes",
    "val_check_interval": "metrics.every",
    "check_val_every_n_epoch": "metrics.every",
    "default_root_dir": "the environment variable DARKROOM_ROOT",
}


def check_training(config: Node, grid: bool) -> None:
    """Refuse keys that are each fine and together are not."""
    if (config["budget"]["images"], config["budget"]["minutes"]) == (None, None):
        raise UserError("There is no budget: type budget.images=<real images> or budget.minutes=<minutes>.")
    origins = [key for key in ("resume", "fork", "init") if config[key]]
    if len(origins) > 1:
        raise UserError(f"{' and '.join(origins)} were both given: a run has one origin, so keep one of them.")
    for key, instead in NOT_THE_TRAINERS.items():
        if config["trainer"].get(key) is not None:
            raise UserError(f"'trainer.{key}' would not do what it says here: use {instead}.")
    if str(config["trainer"].get("precision", config["precision"])) != config["precision"]:
        raise UserError(f"'trainer.precision' follows 'precision': type precision={config['trainer']['precision']}.")
    for path, node in targets(config):
        if node.get("nesterov") and not node.get("momentum"):
            raise UserError(f"'{path}.nesterov' needs momentum: type {path}.momentum=0.9 or {path}.nesterov=false.")
    model = config["model"]
    penalty = str(model.get("penalty", {}).get("_target_")).rpartition(".")[2]
    normalization = model.get("discriminator", {}).get("normalization")
    if penalty in ("ZeroCentred", "OneCentred", "Recommended", "recommended") and normalization == "batch":
        raise UserError(
            "model.discriminator.normalization=batch mixes the images of a batch, which a penalty on the gradient of"
            " each image cannot bear: type penalty@model.penalty=none or model.discriminator.normalization=none."
        )
    if penalty == "WeightClipping" and normalization == "spectral":
        raise UserError(
            "model.discriminator.normalization=spectral divides weights by their size, so clipping them bounds nothing:"
            " type penalty@model.penalty=none or model.discriminator.normalization=none."
        )
    unscored = str(several.leading(config["metrics"])["_target_"]).endswith(".Nothing")
    _check_names(config, unscored)
    if config["sentinel"].get("every") and config["sentinel"].get("on_collapse") == "rollback" and unscored:
        raise UserError(
            "sentinel.on_collapse=rollback returns to the best checkpoint, and metrics=none knows no best: type"
            " sentinel.on_collapse=stop, or metrics=generative."
        )
    fused = any(node.get("fused") for _, node in targets(model))
    if config["precision"] == "16-mixed" and model.get("gradient_clip") and fused:
        raise UserError(
            "model.gradient_clip cannot see the true gradients of a fused optimizer under precision=16-mixed: type"
            " precision=bf16-mixed, or fused=false for the optimizers."
        )
    if config["output"] and grid:
        raise UserError("output and -m were both given: every run would be written to the same folder.")
    if grid and several_devices(config["trainer"]):
        raise UserError(
            "A grid (-m) and several devices do not mix: each device would start the whole grid again; run the points"
            " one by one, or use trainer.devices=1."
        )


def _check_names(config: Node, unscored: bool) -> None:
    """Refuse what MLflow would not take once the work is done."""
    tracking = config["tracking"]
    for setting, name in (("name", config["name"]), ("tracking.experiment", tracking["experiment"])):
        if name is not None:
            names.check_run(setting, name)
    names.check_tags("tracking.tags", tracking["tags"])
    if tracking["register"] is None:
        return
    names.check_model("tracking.register", tracking["register"])
    names.check_alias("tracking.alias", tracking["alias"])
    if unscored:
        raise UserError(
            f"tracking.register={tracking['register']} registers the best checkpoint, and metrics=none knows no best:"
            " type metrics=generative or another that scores, or leave tracking.register out."
        )


_SAMPLERS = ("tpe", "random", "grid", "nsgaii")


def check_sweep(config: Node) -> None:
    """Refuse what no sweep can be; what its space holds is checked where it is read."""
    search = config["search"]
    if not search["space"]:
        raise UserError(f"A sweep needs a search: type search=<one of {', '.join(options('search'))}>.")
    for word, value, known in (("sampler", search["sampler"], _SAMPLERS), ("pruner", search["pruner"], ("median",))):
        if value not in known and not (word == "pruner" and value is None):
            raise UserError(f"'search.{word}' is '{value}', but one of {', '.join(known)} was expected"
                            f"{did_you_mean(str(value), known)}.")  # fmt: skip
    objectives = search["objectives"] or {}
    if not isinstance(objectives, Mapping):
        raise UserError(f"'search.objectives' is {objectives!r}, but metrics with min or max were expected: type"
                        " 'search.objectives={val/fid:min}'.")  # fmt: skip
    for metric, mode in objectives.items():
        if mode not in ("min", "max"):
            raise UserError(f"'search.objectives' wants {metric}: min or {metric}: max, not '{mode}'.")
        if metric.startswith("test/"):
            raise UserError(f"'{metric}' cannot be searched for: the test split is read once, to tell how it came out;"
                            f" type val/{metric.removeprefix('test/')}.")  # fmt: skip
    if config["submit"] is not None:
        raise UserError(
            "A sweep waits for its trials, and submit queues them: type engine=ray for trials on a cluster, or"
            " darkroom train -m submit=slurm for a grid of jobs."
        )
    for key in ("resume", "fork", "output"):
        if config[key]:
            raise UserError(
                f"search and {key} were both given: a sweep starts runs of its own, and goes on when the same line is"
                " typed again."
            )
    if several.leading(config["metrics"]).get("every") is None:
        raise UserError("A sweep ranks its trials by their score, and nothing is scored: type metrics=generative.")


def several_devices(trainer: Node) -> bool:
    """Say whether a trainer's settings ask for more than one process."""
    if trainer.get("workers", 1) > 1 or trainer.get("num_nodes", 1) > 1:
        return True
    devices = trainer.get("devices", 1)
    if isinstance(devices, list):
        return len(devices) > 1
    if str(devices) in ("auto", "-1"):
        return str(trainer.get("strategy")).startswith(("ddp", "fsdp"))
    return "," in str(devices) or (str(devices).isdigit() and int(devices) > 1)
