"""``darkroom check``: compose and verify every file in conf/."""

import sys
from collections.abc import Iterator
from pathlib import Path

from darkroom import documents, paths
from darkroom.config.checking import check
from darkroom.config.command import command
from darkroom.config.composing import compose
from darkroom.config.nodes import Node
from darkroom.config.registering import COMPOSITION_ERRORS
from darkroom.config.schema import SCHEMAS
from darkroom.config.sentences import explain
from darkroom.config.typed import Typed
from darkroom.errors import UserError

# What a part is tried in: a model that has it. Of networks the name, or its last word, tells which part they are.
NETWORKS = {
    "generator": ("gan", "generator"),
    "discriminator": ("gan", "discriminator"),
    "encoder": ("vae", "encoder"),
    "decoder": ("vae", "decoder"),
    "autoencoder": ("denoiser", "network"),
    "naf": ("restorer", "network"),
    "dncnn": ("restorer", "network"),
    "unet": ("restorer", "network"),
    "srvgg": ("restorer", "network"),
    "edsr": ("restorer", "network"),
    "prior": ("vqvae", "prior"),
    "convlstm": ("sequence", "network"),
    "convgru": ("sequence", "network"),
    "mau": ("sequence", "network"),
    "lstm": ("sequence", "network"),
    "simvp": ("sequence", "network"),
    "pixelcnn": ("pixelrnn", "network"),
    "row_lstm": ("pixelrnn", "network"),
    "transformer": ("stylizer", "network"),
    "style": ("adain", "network"),
    "patchgan": ("cyclegan", "discriminator"),
}
SEARCHED = {"vae": ["model=vae"], "classifier": ["model=classifier"], "restorer": ["model=restorer", "data=photos"]}
PARTS = {"likelihood": "vae", "prior": "vae", "degradation": "restorer", "curriculum": "sequence"}


@command("check")
def main(config: Node) -> None:
    """Print one line a file, and exit with 2 when one is wrong."""
    folder = Path(config["folder"]).expanduser().resolve() if config["folder"] else paths.conf()
    if not folder.is_dir():
        raise UserError(f"folder={config['folder']} is not a folder.")
    wrong = 0
    checked = 0
    for name, command_name, overrides in choices(folder):
        checked += 1
        sentence = verdict(command_name, overrides, folder)
        print(f"{'ok   ' if sentence is None else 'WRONG'}  {name}{f': {sentence}' if sentence else ''}")
        wrong += sentence is not None
    if not checked:
        raise UserError(f"There is no configuration in {folder}: expected experiment/, data/, model/ and so on.")
    print(f"{checked} configurations, {wrong} wrong")
    if wrong:
        sys.exit(2)


def choices(folder: Path) -> Iterator[tuple[str, str, list[str]]]:
    """Yield ``(file, command, overrides)``: what to compose so that each file of a conf folder is used."""
    for name in SCHEMAS:
        if folder == paths.conf():
            yield f"{name}.yaml", name, ["search=gan"] if name == "sweep" else []
    for file in sorted(folder.glob("*/**/*.yaml")):
        group, _, option = str(file.relative_to(folder).with_suffix("")).partition("/")
        name = str(file.relative_to(folder))
        if group == "network":
            model, part = NETWORKS.get(option) or NETWORKS.get(option.rpartition("_")[2], ("classifier", "network"))
            yield name, "train", [f"model={model}", f"network@model.{part}={option}"]
        elif group in PARTS:
            yield name, "train", [f"model={PARTS[group]}", f"{group}@model.{group}={option}"]
        elif group == "optimizer":
            yield name, "train", ["model=classifier", f"optimizer@model.optimizer={option}"]
        elif group in ("penalty", "augmentation"):
            yield name, "train", [f"{group}@model.{group}={option}"]
        elif group == "schedule":
            yield name, "train", [f"schedule@model.schedule={option}"]
        elif group == "search":
            yield name, "sweep", [f"search={option}", *SEARCHED.get(option, [])]
        elif name == "metrics/several.yaml":
            yield name, "train", ["metrics=generative,classification"]
        elif group == "operation":
            told = [f"{key}=something" for key, value in documents.read_yaml(file).items() if value == "???"]
            yield name, "edit", [f"operation={option}", *told]
        elif group != "local":
            yield name, "train", [f"{group}={option}"]


def verdict(name: str, overrides: list[str], folder: Path) -> str | None:
    """Return what is wrong with a configuration in one sentence, None when it is right."""
    overlay = folder if folder != paths.conf() else None
    try:
        check(compose(name, overrides, overlay), name)
    except UserError as error:
        return str(error)
    except COMPOSITION_ERRORS as error:
        return explain(error, Typed(name, overrides, overlay))
    return None


if __name__ == "__main__":
    main()
