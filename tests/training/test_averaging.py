"""Weight averaging: what is averaged, that it is what counts, and that training goes on as if it were not there."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from commands import QUICK, SMALL

from fer_lightning.data import synthetic
from fer_lightning.data.datamodule import FERDataModule
from fer_lightning.models import DNN
from fer_lightning.results.checkpoint import load
from fer_lightning.training.averaging import EMA, SWA

RUN = (*SMALL["dnn"], *QUICK, "logger=none")
KINDS = {"ema": ("averaging=ema", "averaging.decay=0.9"), "swa": ("averaging=swa", "averaging.start=0.4")}


class Spy(pl.Callback):
    """The weights after every step, and those in the network while it is validated."""

    def __init__(self):
        self.steps, self.validated = [], []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.steps.append({name: tensor.double() for name, tensor in pl_module.state_dict().items()})

    def on_validation_batch_start(self, trainer, pl_module, *more):
        self.validated.append({name: tensor.double() for name, tensor in pl_module.state_dict().items()})


def fit(averaging, tmp_path, epochs):
    torch.manual_seed(0)
    spy = Spy()
    trainer = pl.Trainer(max_epochs=epochs, accelerator="cpu", logger=False, enable_checkpointing=False,
                         enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
                         default_root_dir=tmp_path, callbacks=[averaging, spy])  # fmt: skip
    model = DNN(widths=(16, 8), optimizer=lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, fused=True))
    trainer.fit(model, FERDataModule(synthetic.draw(train=200, test=20), batch_size=64))
    return spy, averaging, model


def assert_close(first, second):
    """The parameters, and not the statistics of batch normalization, which are measured."""
    for name in (f"fc{i}.{layer}" for i in (1, 2) for layer in ("0.weight", "0.bias", "2.weight", "2.bias")):
        tensor = first[name]
        torch.testing.assert_close(tensor.double(), second[name].double(), atol=1e-6, rtol=1e-5)


pytestmark = pytest.mark.filterwarnings("ignore:.*smaller than the logging interval")


def test_ema_is_the_exponential_mean_of_every_second_steps_weights(tmp_path):
    spy, averaging, model = fit(EMA(decay=0.2, every=2), tmp_path, epochs=3)
    taken = spy.steps[1::2]
    assert len(taken) == 4  # 3 steps an epoch
    expected, count = taken[0], 1
    for step in taken[1:]:
        decay = min(0.2, count / (9 + count))  # 0.1, 0.18, then 0.2
        expected = {name: decay * tensor + (1 - decay) * step[name] for name, tensor in expected.items()}
        count += 1
    assert_close(averaging.average, expected)
    assert_close(spy.validated[-1], expected)
    assert_close(model.state_dict(), spy.steps[-1])


def test_statistics_are_measured_for_the_average(tmp_path):
    """Of the first batch normalization: means over the training images of what the averaged layer before it says."""
    spy, _, model = fit(EMA(decay=0.5), tmp_path, epochs=2)
    data = FERDataModule(synthetic.draw(train=200, test=20), batch_size=64)
    means = []
    data.trainer = model.trainer
    model.trainer.fit_loop.epoch_progress.current.completed -= 1  # back in the last epoch, in its order of batches
    for pixels, _ in data.train_dataloader():
        faces = data.normalize(pixels.unsqueeze(1) / 255).flatten(1).double()
        weight, bias = spy.validated[-1]["fc1.0.weight"], spy.validated[-1]["fc1.0.bias"]
        means.append((faces @ weight.T + bias).relu().mean(0))
    assert len(means) == 3
    measured = spy.validated[-1]["fc1.2.running_mean"]
    torch.testing.assert_close(measured, torch.stack(means).mean(0), atol=1e-4, rtol=1e-4)
    assert spy.steps[-1]["fc1.2.num_batches_tracked"] == 6  # the trained network's own go on


def test_swa_is_the_mean_of_the_last_epochs_weights(tmp_path):
    spy, averaging, _ = fit(SWA(start=0.5), tmp_path, epochs=4)
    ends = spy.steps[2::3]
    assert_close(spy.validated[1], ends[1])  # nothing is averaged yet
    expected = {name: (ends[2][name] + ends[3][name]) / 2 for name in ends[0]}
    assert_close(averaging.average, expected)
    assert_close(spy.validated[-1], expected)


def test_an_average_of_few_epochs_begins_with_the_last():
    averaging = SWA(start=0.9)
    spy = SimpleNamespace(global_step=0, max_epochs=3, current_epoch=0, num_training_batches=1)
    begun = []
    for spy.current_epoch in range(3):
        spy.global_step += 1
        averaging.on_train_batch_end(spy, torch.nn.Linear(1, 1), None, None, 0)
        begun.append(averaging.count)
    assert begun == [0, 0, 1]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_the_average_is_validated_and_scored_and_changes_no_training(cli, trained, tmp_path, monkeypatch, kind):
    trained("plain", *RUN, "trainer.max_epochs=4")
    monkeypatch.setattr("fer_lightning.train.drop_last_checkpoint", lambda *_: None)  # to look into it below
    assert cli(*RUN, *KINDS[kind], "trainer.max_epochs=4", f"hydra.run.dir={kind}").status == 0
    plain, averaged = (pd.read_csv(tmp_path / name / "metrics.csv") for name in ("plain", kind))
    assert plain["train_loss"].tolist() == averaged["train_loss"].tolist()
    assert plain["val_loss"].iloc[-1] != averaged["val_loss"].iloc[-1]
    metrics = json.loads((tmp_path / kind / "metrics.json").read_text())
    best = averaged.loc[averaged["val_acc"].idxmax()]
    assert metrics["val_acc"] == pytest.approx(best["val_acc"], abs=1e-6)
    predicted = pd.read_csv(tmp_path / kind / "predictions.csv")
    val = predicted[predicted["split"] == "val"]
    chosen = val.apply(lambda row: row[row["target"]], axis=1).to_numpy(float)
    assert -np.log(chosen).mean() == pytest.approx(best["val_loss"], abs=1e-3)  # best.ckpt is what was validated
    last = torch.load(tmp_path / kind / "checkpoints" / "last.ckpt", weights_only=True)
    trained = last["averaging"]["trained"]
    assert not torch.equal(last["state_dict"]["fc1.0.weight"], trained["fc1.0.weight"])
    scored = load(tmp_path / kind / "checkpoints" / "last.ckpt").model.state_dict()
    torch.testing.assert_close(scored, last["state_dict"])


def test_an_epochs_seconds_are_of_its_training_alone(cli, tmp_path, monkeypatch):
    usual, now = EMA.on_validation_start, [0.0]

    def slow(*arguments):
        now[0] += 1000
        usual(*arguments)

    def clock(module):
        now[0] += 1
        return now[0]

    monkeypatch.setattr("fer_lightning.training.recorder._clock", clock)
    monkeypatch.setattr(EMA, "on_validation_start", slow)
    assert cli(*RUN, *KINDS["ema"], "trainer.max_epochs=1", "hydra.run.dir=run").status == 0
    assert now[0] > 1000
    assert pd.read_csv(tmp_path / "run" / "metrics.csv")["seconds"].tolist() == [1]
