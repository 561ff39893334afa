"""Fixtures shared by all tests."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from functools import cache
from pathlib import Path
from unittest.mock import create_autospec

import numpy as np
import pytest
import yaml
from commands import Ended, run_command
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from PIL import Image

from fer_lightning.__main__ import CONF, main
from fer_lightning.data import fer2013, synthetic
from fer_lightning.data.faces import USAGES, Faces
from fer_lightning.data.source import built_in_faces
from fer_lightning.results import figures, outputs
from fer_lightning.settings.hydra_app import register_resolvers
from fer_lightning.training.recorder import Recorder

SHARED = Path(__file__).parents[2] / "shared" / "fer2013"
LONG = 20  # seconds, after which a test is named while it runs


def pytest_configure() -> None:
    global terminal
    terminal = os.dup(2)  # what pytest captures later does not reach it


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Name a test that takes long, so that whoever waits knows for what."""

    def say(words: str) -> None:
        os.write(terminal, f"\n{item.nodeid}: {time.monotonic() - began:.0f} s{words}\n".encode())

    began = time.monotonic()
    timer = threading.Timer(LONG, say, [" so far …"])
    timer.daemon = True
    timer.start()
    result = yield
    timer.cancel()
    if time.monotonic() - began > LONG:
        say("")
    return result


@pytest.fixture(scope="session", autouse=True)
def _own_surroundings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test sees the user's FER2013, writes into the user's cache or hears that pytest was told to ignore Ctrl-C.

    Children inherit that: where pytest runs in the background, tests that press Ctrl-C would wait for ever.
    """
    usual = signal.signal(signal.SIGINT, signal.default_int_handler)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("current"))
        patch.setenv("FER_LIGHTNING_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.delenv("FER2013_ROOT", raising=False)
        yield
    signal.signal(signal.SIGINT, usual)


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test's current folder is its `tmp_path`."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session", autouse=True)
def few_faces() -> Iterator[Faces]:
    """The built-in faces of all runs in this process, a fifth of the usual ones.

    What takes half of such a run's time is left out: pictures are blank, those of runs are not even drawn; Hydra
    composes a configuration once, not before to look for the `hydra.mode` that conf/ never sets, nor to check a sweep's
    jobs, which are checked already; YAML is read by its library in C.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(synthetic.draw, "__defaults__", (400, 150, 0))
        patch.setattr(figures, "save", lambda figure, path: Image.new("RGB", (1, 1)).save(path))
        patch.setattr(outputs, "figures", create_autospec(figures))
        patch.setattr(outputs.figures, "save", figures.save)
        patch.setattr("hydra._internal.hydra.Hydra.get_mode", lambda *_, **__: None)
        patch.setattr("hydra.plugins.sweeper.Sweeper.validate_batch_is_legal", lambda *_: None)
        patch.setattr("yaml.SafeLoader", yaml.CSafeLoader)
        yield built_in_faces()


@pytest.fixture(scope="session")
def few_faces_file(few_faces: Faces, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same faces as a file of FER2013's form, for other processes."""
    path, usage = tmp_path_factory.mktemp("few") / "faces.npz", np.array(USAGES)[few_faces.usage]
    np.savez(path, pixels=few_faces.pixels, emotion=few_faces.labels, usage=usage)
    return path


@pytest.fixture(scope="session")
def shared_rows() -> Path:
    """The folder of the real FER2013 rows that stands beside this checkout, where it does."""
    if not (SHARED / "unpack.py").is_file():
        pytest.skip("the real FER2013 rows (../shared/fer2013) are not here")
    return SHARED


@pytest.fixture(scope="session")
def cli() -> Callable[..., Ended]:
    """`cli("model=dnn", …)` runs the main command in this process, in the current folder."""
    return lambda *arguments: run_command(main, *arguments)


@pytest.fixture(scope="session")
def _trained_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    @cache
    def train(*arguments: str) -> Path:
        folder = tmp_path_factory.mktemp("trained") / "run"
        ended = run_command(main, *arguments, f"hydra.run.dir={folder}")
        assert ended.status == 0, ended.err
        return folder

    return train


@pytest.fixture
def trained(_trained_once: Callable[..., Path], tmp_path: Path) -> Callable[..., Path]:
    """`trained("run", "model=dnn", …)` is a finished run of these settings, as the folder `run` of the current one.

    It is trained once for all tests that want it, and copied.
    """
    return lambda name, *arguments: Path(shutil.copytree(_trained_once(*arguments), tmp_path / name))


@pytest.fixture(scope="session")
def composed() -> Callable[..., DictConfig]:
    """`composed("model=dnn", …)` is the configuration that the command would get; `hydra=True`: with Hydra's own."""

    def call(*overrides: str, hydra: bool = False) -> DictConfig:
        register_resolvers()
        with initialize_config_dir(str(CONF), version_base="1.3"):
            return compose("config", list(overrides), return_hydra_config=hydra)

    return call


@pytest.fixture(scope="session")
def real_faces(shared_rows: Path, tmp_path_factory: pytest.TempPathFactory) -> Faces:
    """All real rows at hand: 28,709 Training and 3,589 PublicTest."""
    folder = tmp_path_factory.mktemp("fer2013")
    subprocess.run([sys.executable, shared_rows / "unpack.py", folder, "--npz"], check=True)
    return fer2013.load(folder / "fer2013.npz")


@pytest.fixture
def end_in(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, BaseException], None]:
    """`end_in(3, error)` raises an error at the end of the third epoch that is trained from now on, once."""

    def at(epoch: int, error: BaseException) -> None:
        usual, left = Recorder.on_train_epoch_end, [epoch]

        def ended(self, trainer, pl_module):
            usual(self, trainer, pl_module)
            left[0] -= 1
            if left[0] == 0:
                raise error

        monkeypatch.setattr(Recorder, "on_train_epoch_end", ended)

    return at
