"""Fixtures shared by all tests."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from fer_lightning.__main__ import CONF, main
from fer_lightning.data import fer2013
from fer_lightning.data.faces import Faces
from fer_lightning.settings.hydra_app import register_resolvers

SHARED = Path(__file__).parents[2] / "shared" / "fer2013"


@pytest.fixture(scope="session", autouse=True)
def _own_surroundings(tmp_path_factory: pytest.TempPathFactory):
    """No test sees the user's FER2013, or writes into the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FER_LIGHTNING_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.delenv("FER2013_ROOT", raising=False)
        yield


@pytest.fixture(scope="session")
def shared_rows() -> Path:
    """The folder of the real FER2013 rows that stands beside this checkout, where it does."""
    if not (SHARED / "unpack.py").is_file():
        pytest.skip("the real FER2013 rows (../shared/fer2013) are not here")
    return SHARED


@dataclass
class Ended:
    """How a command ended."""

    status: int
    out: str
    err: str


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """`cli("model=dnn", …)` runs the command in this process, in an empty current folder."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> Ended:
        monkeypatch.setattr("sys.argv", ["fer-lightning", *arguments])
        capsys.readouterr()
        status = 0
        try:
            main()
        except SystemExit as end:
            status = int(end.code or 0)
        return Ended(status, *capsys.readouterr())

    return call


@pytest.fixture
def composed() -> Callable[..., DictConfig]:
    """`composed("model=dnn", …)` is the configuration that the command would get."""

    def call(*overrides: str) -> DictConfig:
        register_resolvers()
        with initialize_config_dir(str(CONF), version_base="1.3"):
            return compose("config", list(overrides))

    return call


@pytest.fixture(scope="session")
def real_faces(shared_rows: Path, tmp_path_factory: pytest.TempPathFactory) -> Faces:
    """All real rows at hand: 28,709 Training and 3,589 PublicTest."""
    import subprocess
    import sys

    folder = tmp_path_factory.mktemp("fer2013")
    subprocess.run([sys.executable, shared_rows / "unpack.py", folder, "--npz"], check=True)
    return fer2013.load(folder / "fer2013.npz")
