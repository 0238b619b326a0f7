"""Lightning's Trainer writes into a run that it does not own."""

import pytest
import pytorch_lightning
import torch
from pytorch_lightning.callbacks import ModelCheckpoint

from darkroom.tracking import checkpoints, run
from darkroom.tracking.checkpoint_io import AtomicCheckpointIO
from darkroom.tracking.logger import RunLogger

BATCH = 4


class Line(pytorch_lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.line = torch.nn.Linear(2, 1)
        self.images_seen = 0

    def training_step(self, batch, index):
        self.images_seen += BATCH
        self.log("train/loss", float(index))
        return self.line(batch).square().mean()

    def validation_step(self, batch, index):
        self.log("val/loss", 2.0)

    def configure_optimizers(self):
        optimizer = torch.optim.Adam(self.parameters())
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1)]


@pytest.fixture
def trainer(store):
    """Make a trainer that logs to a run."""

    def make(opened, model, **more):
        return pytorch_lightning.Trainer(
            max_epochs=1,
            accelerator="cpu",
            log_every_n_steps=1,
            logger=RunLogger(opened, lambda: model.images_seen),
            plugins=[AtomicCheckpointIO()],
            callbacks=[
                ModelCheckpoint(
                    opened.folder / "checkpoints", "last", save_weights_only=False, enable_version_counter=False
                )
            ],
            enable_progress_bar=False,
            enable_model_summary=False,
            **more,
        )

    return make


def fit(trainer, model, **more):
    batches = torch.utils.data.DataLoader(torch.zeros(3 * BATCH, 2), batch_size=BATCH)
    trainer.fit(model, batches, batches, **more)


@pytest.mark.filterwarnings("ignore")
def test_the_trainer_logs_by_images_seen_and_leaves_the_run_open(store, trainer):
    model = Line()
    with run.start(store, "lab", "line", {}, {}, system_metrics=None) as opened:
        fit(trainer(opened, model), model)
        assert store.find("line").status == "RUNNING"
        checkpoint = checkpoints.load(opened.folder / "checkpoints" / "last.ckpt")
    history = store.client.get_metric_history(opened.id, "train/loss")
    assert [(point.step, point.value) for point in history] == [(4, 0.0), (8, 1.0), (12, 2.0)]
    record = store.find("line")
    assert record.status == "FINISHED"
    assert record.metrics == {"train/loss": 2.0, "val/loss": 2.0}
    assert torch.equal(checkpoint["state_dict"]["line.weight"], model.line.weight)
    with run.resume(store, record, {}, {}, system_metrics=None) as opened:
        model = Line()
        resumed = trainer(opened, model)
        resumed.fit_loop.max_epochs = 2
        fit(resumed, model, ckpt_path=str(opened.folder / "checkpoints" / "last.ckpt"))
        assert resumed.global_step == 6


@pytest.mark.filterwarnings("ignore")
def test_an_interrupt_under_the_trainer_is_a_killed_run(store, trainer):
    class Stubborn(Line):
        def training_step(self, batch, index):
            raise KeyboardInterrupt

    def live():
        model = Stubborn()
        with run.start(store, "lab", "line", {}, {}, system_metrics=None) as opened:
            fit(trainer(opened, model, num_sanity_val_steps=0), model)

    with pytest.raises(SystemExit):
        live()
    assert store.find("line").status == "KILLED"


def test_a_process_without_a_run_says_nothing():
    logger = RunLogger(None, lambda: 0)
    logger.log_metrics({"train/loss": 1.0}, 1)
    logger.log_hyperparams({"a": 1})
    logger.finalize("success")
    assert (logger.name, logger.version, logger.save_dir) == (None, None, None)
