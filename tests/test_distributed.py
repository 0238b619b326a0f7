"""Two processes train as one does."""

import os
import subprocess
import sys

import pytest
import torch

from darkroom.tracking import checkpoints

SMALL = [
    "data.image_size=8",
    "data.source.test=0.3",
    "budget.images=320",  # further on, adversaries amplify what rounding began
    "metrics.every=160",
    "tracking.log_every=160",
]
GAN = [
    *SMALL,
    "experiment=gan/digits",
    "model.generator.width=4",
    "model.discriminator.width=4",
    "metrics.images=128",
    "metrics.test_images=128",
    # Not Adam: it divides gradients by their own size, and makes float error as large as they are.
    "optimizer@model.generator_optimizer=sgd",
    "optimizer@model.discriminator_optimizer=sgd",
]
# Random numbers of every kind, and gradients of gradients.
VARIED = [
    *GAN,
    "model.loss=hinge",
    "penalty@model.penalty=gradient_penalty",
    "augmentation@model.augmentation=diffaugment",
    "model.augmentation.ramp=0",
    "model.discriminator_steps=2",
]
CLASSIFIER = [*SMALL, "experiment=classifier/digits", "model.network.width=4", "optimizer@model.optimizer=sgd"]
CODER = [
    *SMALL,
    "model=vae",
    "data=digits",
    "network@model.encoder=mlp_encoder",
    "network@model.decoder=mlp_decoder",
    "likelihood@model.likelihood=gaussian_optimal",
    "model.free_bits=0.5",
    "model.latent_dim=4",
    "model.components=2",
    "model.flow_steps=3",
    "metrics.images=128",
    "metrics.test_images=128",
    "metrics.nll_samples=5",
    "optimizer@model.optimizer=sgd",
    "model.optimizer.lr=0.00001",
]
TWO = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2"]


@pytest.mark.slow
@pytest.mark.parametrize("overrides", [GAN, VARIED, CLASSIFIER, CODER], ids=["gan", "varied", "classifier", "vae"])
def test_two_processes_agree_with_one(store, overrides):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    records = []
    for devices in ([], TWO):
        command = [sys.executable, "-m", "darkroom", "train", *overrides, *devices]
        subprocess.run(command, env=environment, check=True, capture_output=True, timeout=240, stdin=subprocess.DEVNULL)
        records.append(store.find("latest"))
    assert len(store.runs()) == 2
    assert {record.status for record in records} == {"FINISHED"}
    one, two = (checkpoints.load(record.folder / "checkpoints" / "last.ckpt") for record in records)
    assert one["images_seen"] == two["images_seen"] == 320
    for name, tensor in one["state_dict"].items():
        assert torch.allclose(tensor, two["state_dict"][name], atol=1e-5), name
    history = [
        {point.step: point.value for point in store.client.get_metric_history(r.run_id, "train/images_per_second")}
        for r in records
    ]
    assert history[0].keys() == history[1].keys() == {192, 320}
