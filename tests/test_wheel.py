"""The built wheel works outside the checkout, its configuration and templates included."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest


@pytest.mark.slow
def test_the_wheel_brings_what_it_needs(tmp_path):
    """Built with hatchling, as pip does, and run from the unpacked wheel alone."""
    root = Path(__file__).parents[1]
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path],
        cwd=root,
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    code = """
import fer_lightning.__main__ as command
from fer_lightning.results import page
print(command.CONF, page.table(["Title"], [[1]]))
command.main()
"""
    ended = subprocess.run(
        [sys.executable, "-c", code, "--cfg", "job", "model=dnn", "experiment=too_strong"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith(str(tmp_path / "site" / "fer_lightning" / "conf"))
    assert "fer_lightning.models.DNN" in ended.stdout
    assert "name: too_strong" in ended.stdout
    assert ">Title</th>" in ended.stdout
    templates = {path.relative_to(root) for path in (root / "fer_lightning").rglob("*.j2")}
    assert templates == {path.relative_to(tmp_path / "site") for path in (tmp_path / "site").rglob("*.j2")}
    for folder in ("weights", "photographs/web"):  # networks and their card; what a page to try one is made of
        data = list((root / "fer_lightning" / folder).glob("[!_]*.*"))
        assert data
        for path in data:
            assert (tmp_path / "site" / "fer_lightning" / folder / path.name).read_bytes() == path.read_bytes()
    assert (tmp_path / "site" / "fer_lightning" / "NOTICE").read_bytes() == (root / "NOTICE").read_bytes()
