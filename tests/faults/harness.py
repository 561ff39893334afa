"""Commands in processes of their own that meet a fault: killed, a full or read-only disk, a clock set back.

Each is forked from a server that has imported what a command imports, so it starts at once: a second for a run, not
ten. Within it, a fault is a function of this module, called with its arguments before the command begins.
"""

import errno
import importlib
import io
import multiprocessing
import os
import resource
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import create_autospec

import torch
import yaml
from commands import ALL, QUICK, SMALL, figures
from hydra import compose, initialize_config_dir
from hydra._internal.hydra import Hydra
from PIL import Image

from fer_lightning.__main__ import CONF
from fer_lightning.results.run_folder import read_run, why_unfinished
from fer_lightning.settings.hydra_app import register_resolvers

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["fer_lightning.__main__", "fer_lightning.train", "harness"])
RUN = (*SMALL["dnn"], *QUICK[1:], "trainer.max_epochs=4", "logger=none")
PATIENCE = 120  # seconds, after which a command hangs

register_resolvers()
with initialize_config_dir(str(CONF), version_base="1.3"):
    compose("config")  # what Hydra does once in a process, the server does for all


def of_all(cases: Sequence[Any], few: int) -> Sequence[Any]:
    """All cases with `make faults`, otherwise a few of them, evenly chosen."""
    return cases if ALL else [cases[(2 * number + 1) * len(cases) // (2 * few)] for number in range(few)]


class Command:
    """A command that runs with a fault."""

    def __init__(self, *arguments: object, fault: Sequence[Any] = (), module: str = "fer_lightning", **environ: str):
        self.output, output = SERVER.Pipe(duplex=False)
        given = [str(each) for each in arguments]
        self.process = SERVER.Process(target=_run, args=(module, given, os.getcwd(), output, fault, environ))
        self.process.start()
        output.close()

    def kill(self, after: float) -> None:
        self.process.join(after)
        self.process.kill()

    def end(self) -> tuple[int, str]:
        """Wait for it: exit status and output."""
        timer = threading.Timer(PATIENCE, self.process.kill)
        timer.start()
        with open(self.output.fileno(), encoding="utf-8", closefd=False) as file:
            said = file.read()
        self.process.join()
        assert timer.is_alive(), f"it hung: {said}"
        timer.cancel()
        assert self.process.exitcode is not None
        return self.process.exitcode, said


def run(*arguments: object, **more: Any) -> tuple[int, str]:
    return Command(*arguments, **more).end()


# --- a run, and whether it is the undisturbed one


def command(data: Path, folder: Path = Path("run")) -> tuple[str, ...]:
    """What is repeated after any death."""
    return (*RUN, f"data.root={data}", f"hydra.run.dir={folder}", "resume=true")


def equal(folder: Path, whole: Path) -> bool:
    return figures(folder) == figures(whole) and all(
        (folder / name).read_bytes() == (whole / name).read_bytes()
        for name in ("predictions.csv", "confusion_matrix.csv")
    )


def readable(folder: Path) -> None:
    """Whatever stands there is whole."""
    for checkpoint in folder.glob("checkpoints/*.ckpt"):
        torch.load(checkpoint, weights_only=True)
    if (folder / "metrics.json").exists():
        why_unfinished(read_run(folder))


def finish(data: Path, whole: Path, folder: Path = Path("run")) -> None:
    """By the same command again, to the figures of the undisturbed run, without leftovers."""
    readable(folder)
    status, said = run(*command(data, folder))
    assert status == 0, said
    assert equal(folder, whole)
    assert list(folder.rglob("*.part")) == []


# --- in its process


def _run(module: str, given: list[str], folder: str, output: Any, fault: Sequence[Any], environ: dict) -> None:
    os.dup2(output.fileno(), 1)
    os.dup2(output.fileno(), 2)
    output.close()
    os.chdir(folder)
    os.environ.update(environ)
    sys.argv = [module, *given]
    main = importlib.import_module(f"{module}.__main__").main
    _hurry()
    if fault:
        fault[0](*fault[1:])
    main()


def _hurry() -> None:
    """Pictures are written, but blank; Hydra composes once, and fast, see the `few_faces` of all tests."""
    from fer_lightning.results import figures, outputs
    from fer_lightning.results.files import write_file

    Hydra.get_mode = lambda *_, **__: None
    yaml.SafeLoader = yaml.CSafeLoader
    blank = io.BytesIO()
    Image.new("RGB", (1, 1)).save(blank, "PNG")
    outputs.figures = create_autospec(figures)
    outputs.figures.save = lambda figure, path: write_file(path, blank.getvalue())


# --- faults


def record(below: Path, to: Path) -> None:
    """Writes a line for each change below a folder: a file opened to be written, a rename, a removal, a new folder."""
    lines = os.open(to, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    _at_changes(below, lambda number, event, path: os.write(lines, f"{event} {path}\n".encode()))


def killed_before(below: Path, change: int) -> None:
    """SIGKILL before the change of this number, see `record`."""
    _at_changes(below, lambda number, event, path: number == change and os.kill(os.getpid(), signal.SIGKILL))


def read_only_from(below: Path, change: int) -> None:
    """A file system that becomes read-only, as Linux makes it where the disk fails: from the change of this number."""

    def refuse(number: int, event: str, path: str) -> None:
        if number >= change:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)

    _at_changes(below, refuse)


def _at_changes(below: Path, then: Callable[[int, str, str], object]) -> None:
    numbers, place = iter(range(1_000_000)), os.path.join(below.resolve(), "")

    def hear(event: str, arguments: tuple) -> None:
        if event == "open":
            if not arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                return
        elif event not in ("os.rename", "os.remove", "os.mkdir", "os.rmdir"):
            return
        if isinstance(arguments[0], int):
            return
        path = os.path.abspath(os.fsdecode(arguments[0]))
        if os.path.join(path, "").startswith(place):
            then(next(numbers), event, path)

    sys.addaudithook(hear)


def full_from(below: Path, change: int) -> None:
    """A disk that is full from the change of this number: no file grows any more."""
    full = (0, resource.RLIM_INFINITY)
    _at_changes(below, lambda number, event, path: number >= change and resource.setrlimit(resource.RLIMIT_FSIZE, full))


def half_written(name: str) -> None:
    """SIGKILL while the file of this name is written: half of it is there."""
    usual = Path.replace

    def cut(part: Path, target: Path) -> Path:
        if target.name == name:
            os.truncate(part, part.stat().st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)
        return usual(part, target)

    Path.replace = cut


def files_up_to(limit: int) -> None:
    """No file grows beyond so many bytes, as with `ulimit -f`."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))


def clock_set_back() -> None:
    """Every second, the clock goes back by an hour."""
    began, usual = time.time(), time.time
    time.time = lambda: began - 3600 * (usual() - began)


def weights_lost_in_epoch(epoch: int) -> None:
    """The weights become NaN at the start of an epoch, counted from 1, so its loss does."""

    def lose(trainer: Any, pl_module: Any) -> None:
        for weights in pl_module.parameters():
            weights.data.fill_(float("nan"))

    _at_epoch(epoch, lose)


def removed_in_epoch(epoch: int, *paths: Path) -> None:
    """Files or folders vanish at the start of an epoch."""

    def remove(*_: object) -> None:
        for path in paths:
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    _at_epoch(epoch, remove)


def truncated_in_epoch(epoch: int, below: Path) -> None:
    """Every array of the cache is cut off at the start of an epoch."""
    _at_epoch(epoch, lambda *_: [os.truncate(path, 0) for path in below.rglob("*.npy")])


def _at_epoch(epoch: int, then: Callable[[Any, Any], object]) -> None:
    from fer_lightning.training.recorder import Recorder

    usual = Recorder.on_train_epoch_start

    def hook(self: Recorder, trainer: Any, pl_module: Any) -> None:
        usual(self, trainer, pl_module)
        if trainer.current_epoch + 1 == epoch:
            then(trainer, pl_module)

    Recorder.on_train_epoch_start = hook  # type: ignore[method-assign]


def without_a_home() -> None:
    """A container's user without HOME and without an entry in /etc/passwd."""
    import pwd

    def nobody(number: int) -> Any:
        raise KeyError(f"getpwuid(): uid not found: {number}")

    pwd.getpwuid = nobody
    for name in ("HOME", "XDG_CACHE_HOME", "FER_LIGHTNING_CACHE", "USER", "LOGNAME"):
        os.environ.pop(name, None)
