"""`trainer.compile`: whole training batches go through torch.compile, or a message says why not."""

import json
import shutil

import pandas as pd
import pytest
import torch
from torch._dynamo.backends.common import aot_autograd

from fer_lightning.models import CNN
from fer_lightning.training.compilation import Compiled

SMALL = ("model=dnn", "model.widths=[64,32]", "model.dropout=[0,0]", "data=synthetic", "trainer=cpu",
         "trainer.precision=32-true", "trainer.max_epochs=2", "data.batch_size=128", "logger=none")  # fmt: skip


def figures(folder):
    return pd.read_csv(folder / "metrics.csv").drop(columns="seconds")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on the CPU")
@torch._dynamo.config.patch(recompile_limit=1, fail_on_recompile_limit_hit=True)
def test_each_job_of_a_sweep_is_compiled_and_has_the_figures_of_another(cli, trained, tmp_path):
    """The compiler gives up a function that it compiled `recompile_limit` times; each split's pixels have a mean.

    The figures are compared without what is drawn at random, where the compiler has a generator of its own.
    """
    eager = figures(trained("eager", *SMALL, "aug=norm", "trainer.compile=false"))
    sweep = (*SMALL, "aug=norm", "trainer.compile=true", "seed=0,1", "hydra.sweep.dir=sweep")
    ended = cli("--multirun", *sweep)
    assert ended.status == 0, ended.err
    assert "not compiled" not in ended.out
    jobs = sorted((tmp_path / "sweep").glob("*/"))
    assert [json.loads((job / "metrics.json").read_text())["compiled"] for job in jobs] == [True] * 2
    compiled = figures(jobs[0])
    losses = ["train_loss", "val_loss"]
    pd.testing.assert_frame_equal(compiled[losses], eager[losses], atol=5e-3, rtol=0)
    pd.testing.assert_frame_equal(compiled, eager, atol=0.04, rtol=0)  # rounding moves an image or two across


@pytest.mark.slow
def test_where_compiling_fails_a_message_says_so_and_the_run_is_the_same(cli, trained, tmp_path, monkeypatch):
    eager = trained("eager", *SMALL)
    assert json.loads((eager / "metrics.json").read_text())["compiled"] is False  # auto compiles on no CPU

    def broken(*args, **kwargs):
        def call(*args):
            raise RuntimeError("no compiler here\nand a long trace")

        return call

    monkeypatch.setattr(torch, "compile", broken)
    ended = cli(*SMALL, "trainer.compile=true", "hydra.run.dir=fallen-back")
    assert ended.status == 0, ended.err
    assert (
        ended.out.count("trainer.compile: not compiled, so it trains more slowly: RuntimeError: no compiler here\n")
        == 2
    )
    assert "a long trace" not in ended.out
    assert json.loads((tmp_path / "fallen-back" / "metrics.json").read_text())["compiled"] is False
    pd.testing.assert_frame_equal(figures(tmp_path / "fallen-back"), figures(eager), rtol=0, atol=0)


@pytest.mark.slow
def test_mixing_keeps_one_form_of_targets_and_teachers_are_compiled_too(cli, trained, tmp_path, monkeypatch):
    """Another form, once nothing is mixed any more, would be compiled anew in the middle of a training."""
    trained("teacher", *SMALL)
    seen = {}

    def recording(function, dynamic, mode):
        def call(*tensors):
            seen.setdefault((function.__name__, mode), set()).add(tuple((t.dtype, t.shape) for t in tensors))
            return function(*tensors)

        return call

    monkeypatch.setattr(torch, "compile", recording)
    run = (*SMALL, "trainer.max_epochs=4", "trainer.compile=true", "aug.mixup=1", "aug.mix_until=0.5")
    ended = cli(*run, "distill.teachers=[teacher]", "hydra.run.dir=run")
    assert ended.status == 0, ended.err
    assert {name for name, _ in seen} == {"train_faces", "train_loss", "probabilities"}
    assert all(len(forms) == 1 for forms in seen.values())
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["compiled"] is True


def test_only_whole_batches_are_compiled(monkeypatch):
    """The last batch of an epoch, of another size, would cost a compilation of its own."""
    sizes = []

    def recording(function, dynamic, mode):
        assert dynamic is False
        assert mode == "reduce-overhead"
        return lambda batch: sizes.append(len(batch)) or function(batch)

    monkeypatch.setattr(torch, "compile", recording)
    doubled = Compiled(lambda batch: 2 * batch, 4, "reduce-overhead")
    for size in (4, 3, 4, 1):
        assert doubled(torch.ones(size)).tolist() == [2] * size
    assert sizes == [4, 4]


def test_a_backward_pass_that_cannot_be_compiled_is_a_failure_of_the_first_call(monkeypatch):
    def no_compiler(graph, inputs):
        raise RuntimeError("no such kernel")

    def compile_forwards_only(function, dynamic, mode):
        backend = aot_autograd(fw_compiler=lambda graph, inputs: graph, bw_compiler=no_compiler)
        return compiler(function, dynamic=dynamic, backend=backend)

    compiler = torch.compile
    monkeypatch.setattr(torch, "compile", compile_forwards_only)
    weight = torch.ones(3, requires_grad=True)
    squares = Compiled(lambda batch: (batch * weight).square().sum(), 4)
    squares(torch.ones(4, 3)).backward()
    assert "no such kernel" in squares.failure
    assert weight.grad.tolist() == [8, 8, 8]


def test_a_failure_after_it_has_worked_is_one():
    """Out of memory, say: to go on uncompiled would hide it."""
    calls = []

    def fails_later(batch):
        calls.append(len(batch))
        if len(calls) == 2:
            raise RuntimeError("out of memory")
        return batch

    compiled = Compiled(lambda batch: batch, 4)
    compiled.compiled = fails_later
    compiled(torch.ones(4))
    with pytest.raises(RuntimeError, match="out of memory"):
        compiled(torch.ones(4))


def test_validation_and_loss_in_training_are_compiled_apart(monkeypatch):
    """Validation batches may have the size of training's; they take the network as it is."""
    monkeypatch.setattr(torch, "compile", lambda function, dynamic, mode: lambda *args: pytest.fail("compiled"))
    model = CNN(channels=[2, 2, 2, 2, 2], hidden=4)
    model.train_loss = Compiled(model.train_loss, 8)
    model.eval().validation_step((torch.zeros(8, 1, 48, 48), torch.zeros(8, dtype=torch.long)), 0)
    assert model.means["val/"].compute()["images"] == 8
