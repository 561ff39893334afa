"""Training that begins with the weights of a trained network: which it may be, and that it does."""

import numpy as np
import pandas as pd
import pytest
import torch
from commands import QUICK, SMALL, run_command

from fer_lightning.data.faces import USAGES
from fer_lightning.data.source import built_in_faces
from fer_lightning.evaluate.__main__ import main as evaluate
from fer_lightning.results.checkpoint import load, read_checkpoint
from fer_lightning.results.weights import write_weights
from fer_lightning.settings.build import build, resolve

RUN = (*SMALL["dnn"], *QUICK, "logger=none")


@pytest.fixture
def first(trained):
    return trained("first", *RUN, "data.split_seed=0", "seed=1")


def test_training_begins_with_the_weights_of_a_run_or_a_file(composed, first, tmp_path):
    best = first / "checkpoints" / "best.ckpt"
    write_weights(read_checkpoint(best), tmp_path / "weights.safetensors")
    for path in (first, best, tmp_path / "weights.safetensors"):
        # what belongs to the loss may be other than there
        settings = resolve(composed(*RUN, "seed=0", f"init_from={path}", "model.label_smoothing=0.1"))
        model, weights = build(settings, built_in_faces()).model, load(path).model.state_dict()
        torch.testing.assert_close(model.state_dict(), weights, rtol=0, atol=0)


def test_the_first_epoch_is_better_than_one_from_random_weights(cli, trained, first, tmp_path):
    trained("random", *RUN)
    assert cli(*RUN, "init_from=first", "hydra.run.dir=tuned").status == 0
    random, tuned = (pd.read_csv(tmp_path / name / "metrics.csv") for name in ("random", "tuned"))
    assert tuned["train_loss"].iloc[0] < random["train_loss"].iloc[0]
    trained("other", *RUN, "optimizer.lr=0.01")
    ended = cli(*RUN, "trainer.max_epochs=9", "init_from=other", "ckpt_path=tuned")
    assert ended.status == 2
    assert "other initial weights" in ended.err


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (["init_from=nowhere"], "init_from: nowhere: no such run"),
        (["init_from=first", "model.widths=[8,16]"], "fc1.0.weight has the shape"),
        (["init_from=packaged"], "init_from: packaged is a CNN of other layers than this run's DNN"),
        (["init_from=first", "seed=3"], "init_from: first held out other images"),
        (["init_from=first", "data.val_split=0.2"], "data.val_split=0.1, split seed 0"),
    ],
)
def test_another_networks_weights_and_those_that_know_the_held_out_images_are_refused(
    cli, first, tmp_path, wrong, told
):
    ended = cli(*RUN, *wrong, "hydra.run.dir=run")
    assert ended.status == 2
    assert told in ended.err
    assert not (tmp_path / "run").exists()


def test_images_that_the_network_has_never_seen_may_be_split_in_any_way(cli, first, few_faces, tmp_path):
    for name, pixels in {"own": 255 - few_faces.pixels, "known": few_faces.pixels}.items():
        np.savez(
            tmp_path / f"{name}.npz",
            pixels=pixels[:300],
            emotion=few_faces.labels[:300],
            usage=np.array(USAGES)[few_faces.usage[:300]],
        )
    own = (*RUN, "data=fer2013", "init_from=first", "seed=5")
    ended = cli(*own, "data.root=own.npz", "hydra.run.dir=own")
    assert ended.status == 0, ended.err
    for known in (("init_from=first",), ("init_from=own",), ("distill.teachers=[own]",)):  # own knows what first does
        ended = cli(*own, "data.root=known.npz", "init_from=null", *known, "hydra.run.dir=known")
        assert ended.status == 2
        assert "it may have learned 30 of the 30 that this run is scored on" in ended.err
    assert run_command(evaluate, "own", "--split", "val").status == 0
