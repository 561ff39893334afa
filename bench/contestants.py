"""What the worker processes do: the trainings, an epoch at a time, and the single measurements.

Every function here is a task of `worker.Worker`: its imports are done before its clock starts.
"""

import os
import resource
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.worker import Channel

if TYPE_CHECKING:
    from omegaconf import DictConfig


def baseline(
    channel: Channel, network: str, rows: str, probe: int, workers: int | None = None, device: str = "cpu"
) -> None:
    from bench.baseline import Training
    from bench.data import load_rows

    training = Training(network, load_rows(rows), probe, workers, device)
    channel.serve(training.epoch, workers=training.workers)


def handwritten(channel: Channel, network: str, rows: str) -> None:
    from bench.data import load_rows
    from bench.handwritten import Training
    from fer_lightning.settings.build import best_precision

    bf16 = best_precision("cpu") == "bf16-mixed"
    training = Training(network, load_rows(rows), augment_keys(), bf16)
    channel.serve(training.epoch, bf16=bf16)


def ours(channel: Channel, overrides: list[str], folder: str) -> None:
    """`train` itself: its recorder waits before each epoch's clock starts, and tells the seconds that it records."""
    from fer_lightning import train
    from fer_lightning.training.recorder import Recorder

    class Gated(Recorder):
        def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
            if trainer.current_epoch == 0:
                channel.answer()
            channel.wait()
            self.came = time.perf_counter()
            super().on_train_epoch_start(trainer, pl_module)

        def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
            self.trained = time.perf_counter()

        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            validated = time.perf_counter()
            super().on_train_epoch_end(trainer, pl_module)
            channel.answer(
                seconds=self.rows[-1]["seconds"],
                validation=validated - self.trained,
                whole=time.perf_counter() - self.came,  # with checkpoints and metrics.csv
                images=self.images,
            )

    train.Recorder = Gated  # type: ignore[misc]
    train.train(compose(*overrides, "trainer.max_epochs=100000"), Path(folder))


def first_batch(channel: Channel, overrides: list[str], folder: str) -> None:
    """Seconds from the call of `train`, everything imported, to its first batch."""
    from fer_lightning import train
    from fer_lightning.training.recorder import Recorder

    class Stopping(Recorder):
        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
            channel.answer(seconds=time.perf_counter() - started)
            channel.wait()

    train.Recorder = Stopping  # type: ignore[misc]
    config = compose(*overrides, "trainer.max_epochs=1")
    started = time.perf_counter()
    train.train(config, Path(folder))


def after_training(channel: Channel, overrides: list[str], folder: str) -> None:
    """Seconds from the end of a (short) training to the return of `train`: predictions, scores, figures."""
    from fer_lightning import train
    from fer_lightning.training.recorder import Recorder

    class Stamping(Recorder):
        def on_train_end(self, trainer: Any, pl_module: Any) -> None:
            super().on_train_end(trainer, pl_module)
            self.stamp = time.perf_counter()
            recorders.append(self)

    recorders: list[Stamping] = []
    train.Recorder = Stamping  # type: ignore[misc]
    train.train(compose(*overrides), Path(folder))
    channel.answer(seconds=time.perf_counter() - recorders[0].stamp)


def read_csv(channel: Channel, path: str) -> None:
    """The first reading by fer_lightning, its writing of the cache included."""
    from fer_lightning.data.source import open_faces

    started = time.perf_counter()
    faces = open_faces("fer2013", path)
    channel.answer(seconds=time.perf_counter() - started, images=len(faces), peak=peak_bytes())


def read_csv_baseline(channel: Channel, path: str) -> None:
    from bench.baseline import read_csv

    started = time.perf_counter()
    pixels, _ = read_csv(Path(path))
    channel.answer(seconds=time.perf_counter() - started, images=len(pixels), peak=peak_bytes())


def read_faulty_csv(channel: Channel, path: str) -> None:
    from fer_lightning.data.source import open_faces
    from fer_lightning.errors import UserError

    message = ""
    started = time.perf_counter()
    try:
        open_faces("fer2013", path)
    except UserError as error:
        message = str(error)
    channel.answer(seconds=time.perf_counter() - started, message=message, peak=peak_bytes())


def open_again(channel: Channel, path: str) -> None:
    """The second start. anonymous: bytes of memory that it took and that no file stands behind."""
    from fer_lightning.data.source import open_faces

    before = anonymous_bytes()
    started = time.perf_counter()
    faces = open_faces("fer2013", path)
    seconds = time.perf_counter() - started
    channel.answer(seconds=seconds, images=len(faces), pixels=faces.pixels.nbytes, anonymous=anonymous_bytes() - before)


def augmentation(channel: Channel, rows: str, images: int) -> None:
    """Turns of the PIL pipeline and of the batched one over the same training images, in one process."""
    import torch
    from torch.utils.data import Subset

    from bench import baseline, handwritten
    from bench.data import load_rows

    arrays = load_rows(rows)
    theirs = baseline.FERDataset(
        arrays["pixels"][arrays["train"]],
        arrays["labels"][arrays["train"]],
        baseline.train_transform(*baseline.normalization(arrays["pixels"][arrays["train"]])),
    )
    loaders = {workers: baseline.loader(Subset(theirs, range(images)), True, workers) for workers in baseline.WORKERS}
    mine = handwritten.Training("dnn", arrays, augment_keys(), bf16=False)

    def turn() -> dict[str, float]:
        figures = {}
        for workers, batches in loaders.items():
            started = time.perf_counter()
            for _ in batches:
                pass
            figures[f"pil_{workers}"] = images / (time.perf_counter() - started)
        started = time.perf_counter()
        for _ in range(repeats):  # as long as the others, so that a moment's disturbance does not decide
            for chunk in torch.arange(images).split(baseline.BATCH):
                mine.batch(chunk)
        figures["batched"] = repeats * images / (time.perf_counter() - started)
        return figures

    repeats = 1
    turn()
    repeats = 5
    channel.serve(turn)


def augment_keys() -> dict[str, Any]:
    """The arguments that conf/aug/norm_aug.yaml gives to `Augment`."""
    from fer_lightning.settings.build import resolve
    from fer_lightning.settings.schema import Warp

    return resolve(compose("aug=norm_aug")).aug.part(Warp)


def compose(*overrides: str) -> "DictConfig":
    """The configuration of `python -m fer_lightning …`."""
    import hydra

    from fer_lightning.__main__ import CONF
    from fer_lightning.settings.hydra_app import register_resolvers

    register_resolvers()
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        return hydra.compose("config", list(overrides))


def peak_bytes() -> int:
    """The most memory that this process has held. Not ru_maxrss where /proc tells: that starts at the parent's."""
    return _status("VmHWM") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (
        1 if sys.platform == "darwin" else 1024
    )


def anonymous_bytes() -> int:
    """Memory that no file stands behind; 0 where the system does not tell."""
    return _status("RssAnon")


def _status(key: str) -> int:
    if os.path.exists("/proc/self/status"):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(f"{key}:"):
                return int(line.split()[1]) * 1024
    return 0
