"""`train(cfg, folder)`: one run, from its configuration to its scores and figures."""

if __name__ == "__main__":  # python -m fer_lightning.train is python -m fer_lightning, which loads torch only for a run
    import runpy

    runpy.run_module("fer_lightning", run_name="__main__", alter_sys=True)

import logging
import math
import os
import shlex
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from statistics import median
from typing import Any

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.plugins.environments import LightningEnvironment
from pytorch_lightning.strategies.launchers import _SubprocessScriptLauncher

from fer_lightning.data.datamodule import epoch_seed
from fer_lightning.data.faces import Faces
from fer_lightning.data.source import describe
from fer_lightning.data.splits import SCORED
from fer_lightning.errors import Failure
from fer_lightning.photographs.aligned import aligned
from fer_lightning.results import scores
from fer_lightning.results.checkpoint import load
from fer_lightning.results.files import keep, remove_parts, write_file, write_json
from fer_lightning.results.outputs import (
    confusion_of,
    draw_run,
    predict_splits,
    split_scores,
    submission,
    write_predictions,
)
from fer_lightning.results.paths import best_checkpoint, here, last_checkpoint
from fer_lightning.results.run_folder import METRIC_KEYS, Row, best_row, read_metrics
from fer_lightning.settings.build import Experiment, build, faces_of, resolve
from fer_lightning.settings.resume import laid_out, take_over
from fer_lightning.training.checkpoints import DECISIVE
from fer_lightning.training.loggers import close, log_results, make_loggers
from fer_lightning.training.memory import keep_freed_memory
from fer_lightning.training.processes import begins_alone, is_first_process, other_processes
from fer_lightning.training.progress import EpochBar
from fer_lightning.training.provenance import device_name, versions
from fer_lightning.training.recorder import Recorder
from fer_lightning.training.threads import sharing_cores

log = logging.getLogger(__name__)

JOIN = """
import sys
from fer_lightning.training.processes import ending_with_the_first

with ending_with_the_first():  # also while torch is loaded
    from pathlib import Path
    from fer_lightning.train import join
    join(Path(sys.argv[1]))
"""
TRIAL_IMAGES = 256  # of each split that a trial scores at most


def train(cfg: DictConfig, folder: Path) -> dict[str, Any]:
    """Train, score and draw one run into `folder`, or what `resume` finds missing there; its metrics.json.

    An interruption (Ctrl-C) returns as usual with `interrupted` set, whatever the run was at. A failure leaves a
    metrics.json that says so and is raised again. UserError for a mistake in the configuration or the data.
    """
    keep_freed_memory()
    folder.mkdir(parents=True, exist_ok=True)
    metrics: dict[str, Any] = {"completed": False, "interrupted": False, "error": None}
    try:
        settings = resolve(cfg)
        if settings.trial:
            log.info("TRIAL: it shows whether things work; reports and comparisons leave it out")
        faces = faces_of(settings)
        if faces.aligned and not build(settings, faces, folder, device="meta").complete:  # checked first: it takes long
            faces = aligned(faces)
        torch.manual_seed(settings.seed)  # the initial weights; every epoch has a seed of its own
        experiment = build(settings, faces, folder)
        if experiment.complete:
            log.info(f"complete already, skipped: {here(folder)}")
            return read_metrics(folder / "metrics.json")
        log.info(describe(faces))
        metrics = {**header(experiment, faces), **metrics}
        torch.set_num_threads(experiment.threads)
        with sharing_cores():
            run(experiment, faces, folder, metrics)
    except KeyboardInterrupt:
        metrics["interrupted"] = True
    except Exception as error:
        metrics |= {"completed": False, "error": f"{type(error).__name__}: {error}"}
        raise
    finally:
        # Until `header` is there, a run to go on with is untouched, and its scores stay.
        if is_first_process() and ("versions" in metrics or not (folder / "metrics.json").is_file()):
            with suppress(Failure) if metrics["error"] else nullcontext():  # of a full disk, what failed first is told
                write_metrics(metrics, folder)
        close(metrics["completed"])
    if metrics["completed"] and is_first_process():
        drop_last_checkpoint(experiment, folder)
    return metrics


def run(experiment: Experiment, faces: Faces, folder: Path, metrics: dict[str, Any]) -> None:
    """Fit, then score and draw; fills `metrics`."""
    settings, checkpoint = experiment.settings, experiment.checkpoint
    rows = [] if checkpoint is None else take_over(checkpoint, folder)
    if checkpoint is not None:
        log.info(f"goes on after epoch {len(rows)} of {experiment.epochs}, in {folder}")
    if is_first_process():
        for place in (folder, last_checkpoint(folder).parent):
            remove_parts(place)
        write_metrics(metrics, folder)  # first, as it tells whose folder it is; those of a finished run hold no longer
        write_settings(experiment, folder)
    loggers = make_loggers(settings.logger.names, folder)
    recorder = Recorder(folder, experiment.decisive, rows, settings.trainer.patience)
    bar = [EpochBar()] if sys.stdout.isatty() and is_first_process() else []
    trainer = pl.Trainer(
        **settings.trainer.arguments,
        logger=loggers,
        callbacks=[
            EpochSeed(settings.seed),
            *([] if experiment.averaging is None else [experiment.averaging]),
            recorder,
            *bar,
        ],
        default_root_dir=folder,
        plugins=[LightningEnvironment()] if begins_alone(experiment.processes) else None,
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    with all_processes(trainer, folder, experiment.threads):
        if experiment.teachers is not None:
            experiment.teachers.to(trainer.strategy.root_device)
            if settings.distill.once and len(rows) < experiment.epochs:
                predict_soft_targets(experiment)
        started = time.perf_counter()
        try:
            trainer.fit(experiment.model, experiment.datamodule, ckpt_path=checkpoint)
        except SystemExit:  # how Lightning ends after Ctrl-C
            if not trainer.interrupted:
                raise
            metrics["interrupted"] = True
            signal.signal(signal.SIGINT, signal.default_int_handler)  # it ignores further ones
    if not trainer.is_global_zero:
        return
    metrics["fit_seconds"] = round(time.perf_counter() - started, 3)
    metrics["device"] = device_name(trainer.strategy.root_device)
    metrics["compiled"] = bool(experiment.compiled) and all(part.worked for part in experiment.compiled)
    metrics.update(epoch_figures(recorder.rows, recorder.images))
    metrics["stopped_early"] = recorder.stalled and metrics["epochs"] < experiment.epochs
    write_metrics(metrics, folder)  # not completed yet: a run that ends here can be gone on with
    finish(experiment, faces, folder, metrics, trainer)
    metrics["completed"] = not metrics["interrupted"] and metrics["epochs"] > 0


@contextmanager
def all_processes(trainer: pl.Trainer, folder: Path, threads: int) -> Iterator[None]:
    """Inside, the processes that train with this one are there, where Lightning would start them."""
    launcher = trainer.strategy.launcher
    if not isinstance(launcher, _SubprocessScriptLauncher) or launcher.cluster_environment.creates_processes_externally:
        yield  # there are none, or torchrun or SLURM has started them
        return
    cluster = launcher.cluster_environment
    environment = {
        "MASTER_ADDR": cluster.main_address,
        "MASTER_PORT": str(cluster.main_port),
        "OMP_NUM_THREADS": str(threads),  # Lightning would set another number of threads
    }
    with other_processes([sys.executable, "-c", JOIN, os.path.abspath(folder)], trainer.num_devices, environment):
        try:
            yield
        finally:
            if torch.distributed.is_initialized():  # the next run of this process has other ones
                torch.distributed.destroy_process_group()


def join(folder: Path) -> None:
    """Train as another process of the run in `folder`, whose first one has checked and written the settings there."""
    logging.disable(logging.WARNING)  # the first one tells it
    cfg = OmegaConf.load(folder / "config.yaml")
    assert isinstance(cfg, DictConfig)
    train(cfg, folder)


class EpochSeed(pl.Callback):
    """Makes every epoch one that can be repeated by itself: it has a seed of its own, whatever came before it."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # Checkpoints are made between two epochs, so a resumed epoch is an ordinary one. Lightning would take it for
        # half done: skip its batches and the step of a plateau scheduler at its end.
        trainer.fit_loop.restarting = False
        torch.manual_seed(epoch_seed(self.seed, trainer.current_epoch, trainer.global_rank))


def predict_soft_targets(experiment: Experiment) -> None:
    """Ask the teachers about each training image before the first epoch."""
    teachers = experiment.teachers
    assert teachers is not None
    started = time.perf_counter()
    precision = experiment.settings.trainer.precision
    experiment.datamodule.predict_soft_targets(lambda pixels: teachers.soft_targets(pixels, precision))
    images = len(experiment.datamodule.splits["train"])
    log.info(f"the teachers were asked about {images:,} training images in {time.perf_counter() - started:.1f} s")


def finish(experiment: Experiment, faces: Faces, folder: Path, metrics: dict[str, Any], trainer: pl.Trainer) -> None:
    """Score best.ckpt and draw. An interrupted run is scored on validation data only, for the figures so far."""
    splits = experiment.datamodule.splits
    if experiment.settings.trial:  # seconds, not minutes
        splits = {name: positions[:TRIAL_IMAGES] for name, positions in splits.items()}
    if metrics["epochs"]:
        classifier = load(best_checkpoint(folder))
        classifier.model.to(trainer.strategy.root_device)
        precision = metrics["precision"]
        names = ("val",) if metrics["interrupted"] else SCORED
        table = predict_splits(classifier, faces, splits, names, precision)
        write_predictions(table, folder / "predictions.csv")
        metrics.update(split_scores(table, faces, splits))
        confusions = {name: confusion_of(table, name) for name in names if name in set(table["split"])}
        metrics["classes"] = {name: scores.by_class(matrix) for name, matrix in confusions.items()}
        metrics["recall"] = {name: found["recall"] for name, found in metrics["classes"]["val"].items()}
        if not metrics["interrupted"] and len(splits["unlabelled"]):
            probabilities = classifier.probabilities(faces.pixels, precision, where=splits["unlabelled"])
            write_file(folder / "submission.csv", submission(faces, splits["unlabelled"], probabilities))
        draw_run(folder, faces, splits)
        log_results(trainer.loggers, experiment.settings.dump(), metrics, folder)
        log.info(summary(metrics, folder))


def header(experiment: Experiment, faces: Faces) -> dict[str, Any]:
    """What metrics.json knows before the first epoch."""
    settings = experiment.settings
    return {
        "model": type(experiment.model).__name__.lower(),
        "aug": settings.aug.name,
        "data": "synthetic" if faces.synthetic else "fer2013",
        "synthetic": faces.synthetic,
        "source": faces.source,
        "form": faces.form,
        "left_out": faces.left_out,
        "data_fingerprint": experiment.data_fingerprint,
        "seed": settings.seed,
        "trial": settings.trial,
        "params": experiment.params,
        "train_n": len(experiment.datamodule.splits["train"]),
        "normalization": [experiment.datamodule.normalize.mean, experiment.datamodule.normalize.std],
        "max_epochs": experiment.epochs,
        "precision": settings.trainer.precision,
        "versions": versions(),
        DECISIVE: experiment.decisive,
    }


def epoch_figures(rows: list[Row], images: int) -> dict[str, Any]:
    """Figures of metrics.csv. The first epoch also warms up: it is left out of the speed unless it is the only one."""
    if not rows:
        return {"epochs": 0}
    best = best_row(rows)
    seconds = median(row["seconds"] for row in rows[1:] or rows)
    return {
        "epochs": len(rows),
        "best_epoch": best["epoch"],
        "val_loss": best["val_loss"] if math.isfinite(best["val_loss"]) else None,
        "train_seconds": round(sum(row["seconds"] for row in rows), 3),
        "seconds_per_epoch": round(seconds, 3),
        "images_per_second": round(images / seconds, 1) if images else None,
    }


def drop_last_checkpoint(experiment: Experiment, folder: Path) -> None:
    """Remove last.ckpt, three times the network's size, of a completed run that no longer training can go on from."""
    settings, epochs = experiment.settings, experiment.epochs
    if laid_out(settings, epochs, epochs + 1):
        last_checkpoint(folder).unlink(missing_ok=True)


def write_metrics(metrics: dict[str, Any], folder: Path) -> None:
    """metrics.json, with null for whatever of the contract's keys is not known."""
    write_json(folder / "metrics.json", {**dict.fromkeys(METRIC_KEYS), **metrics})


def write_settings(experiment: Experiment, folder: Path) -> None:
    """config.yaml and model.txt. A resumed run's earlier config.yaml is kept as config-1.yaml, config-2.yaml, …"""
    path = folder / "config.yaml"
    keep(path)
    write_file(path, OmegaConf.to_yaml(experiment.settings.dump()).encode())
    write_file(folder / "model.txt", f"{experiment.model}\n\n{experiment.params:,} trainable parameters\n".encode())


def summary(metrics: dict[str, Any], folder: Path) -> str:
    """The end of a run in a few lines: what it reached and where to look."""
    synthetic = " on SYNTHETIC faces" if metrics["synthetic"] else ""
    best = f"best epoch {metrics['best_epoch']} of {metrics['epochs']}"
    best += f", stopped early ({metrics['max_epochs']} were planned)" if metrics.get("stopped_early") else ""
    trial = "TRIAL of " if metrics.get("trial") else ""
    lines = [f"{trial}{metrics['model'].upper()}, aug={metrics['aug']}{synthetic}: {best}"]
    for name, key in (("validation", "val"), ("PublicTest", "test_public"), ("PrivateTest", "test_private")):
        acc = metrics.get(f"{key}_acc")
        if acc is None:
            continue
        low, high = metrics[f"{key}_acc_95"]
        images = f"{metrics[f'{key}_n']:,} images"
        lines.append(f"  {name:<11}  accuracy {acc:.4f}  (95 % interval {low:.4f} to {high:.4f}, {images})")
        unseen = metrics.get(f"{key}_acc_unseen")
        if unseen is not None:
            lines.append(f"{'':24}{unseen:.4f}  on images not also in Training")
    lines.append(f"  {'validation':<11}{'precision':>10}{'recall':>10}{'F1':>10}{'images':>10}")
    for name, found in metrics.get("classes", {}).get("val", {}).items():
        shares = (found[key] for key in ("precision", "recall", "f1"))
        cells = "".join(f"{'–' if share is None else f'{share:.3f}':>10}" for share in shares)
        lines.append(f"  {name:<11}{cells}{found['support']:>10,}")
    place = shlex.quote(here(folder))
    lines.append(f"  figures, predictions, checkpoints: {place}")
    if (folder / "submission.csv").is_file():
        lines.append(f"  classes of the unlabelled images: {shlex.quote(here(folder / 'submission.csv'))}")
    lines.append(f"  curves: tensorboard --logdir {place}")
    return "\n".join(lines)
