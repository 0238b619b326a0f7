"""Models as small as they come, and what trains them; a test says what its own has otherwise."""

from functools import partial

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from darkroom.losses.penalties import ZeroCentred
from darkroom.models.gan import Gan
from darkroom.models.schedule import Schedule
from darkroom.models.vae import Vae
from darkroom.networks.coder import ConvDecoder, ConvEncoder, MlpDecoder, MlpEncoder
from darkroom.networks.mlp import MlpDiscriminator, MlpGenerator


def gan(**changes):
    torch.manual_seed(0)
    adam = partial(torch.optim.Adam, lr=1e-2, betas=(0.0, 0.99))
    parts = {
        "generator": partial(MlpGenerator, widths=(8, 8)),
        "discriminator": partial(MlpDiscriminator, widths=(8, 8)),
        "generator_optimizer": adam,
        "discriminator_optimizer": adam,
        "schedule": Schedule("constant"),
        "penalty": ZeroCentred(0.1, 0.1),
        "image_shape": (1, 8, 8),
        "class_names": ["0", "1", "2"],
        "latent_dim": 4,
    }
    return Gan(**{**parts, **changes})


def coder(family=Vae, seed=0, conv=False, width=32, **changes):
    torch.manual_seed(seed)
    parts = {
        "encoder": partial(ConvEncoder, width=4, hidden=16) if conv else partial(MlpEncoder, widths=[width]),
        "decoder": partial(ConvDecoder, width=4, hidden=16) if conv else partial(MlpDecoder, widths=[width]),
        "optimizer": partial(torch.optim.Adam, lr=0.003),
        "schedule": Schedule("constant"),
        "image_shape": (1, 2, 2),
        "class_names": ["dark", "light"],
        "latent_dim": 2,
    }
    return family(**{**parts, **changes})


def batches(count, size=4):
    """Noise of three classes, as these models take it."""
    generator = torch.Generator().manual_seed(1)
    return [
        {
            "images": torch.rand(size, 1, 8, 8, generator=generator) * 2 - 1,
            "labels": torch.randint(0, 3, (size,), generator=generator),
        }
        for _ in range(count)
    ]


class Outputs(pl.Callback):
    """Keeps what every step returned."""

    def __init__(self):
        self.seen = []

    def on_train_batch_end(self, trainer, module, outputs, *rest):
        self.seen.append({name: float(value) for name, value in outputs.items()})


def fit(model, data, callbacks=(), ckpt_path=None, **settings):
    """Train on these batches, once each, and return the trainer."""
    settings = {"max_epochs": 1, "enable_checkpointing": False, **settings}
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=list(callbacks),
        **settings,
    )
    trainer.fit(model, DataLoader(data, batch_size=None), ckpt_path=ckpt_path, weights_only=False)
    return trainer
