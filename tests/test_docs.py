"""Documents: the settings' page is complete, links lead somewhere, the notebook runs."""

import re
import runpy
import shutil
from pathlib import Path

import nbclient
import nbformat
import pytest
from commands import run_command
from omegaconf import DictConfig, OmegaConf
from PIL import Image

from fer_lightning import export

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
NOTEBOOK = ROOT / "docs" / "colab.ipynb"


def keys(node: DictConfig, prefix: str = "") -> set[str]:
    """`optimizer.lr` and the like of a file of conf/, Hydra's own keys and a file's name aside."""
    found = set()
    for key in node:
        if not str(key).startswith("_") and key not in ("defaults", "hydra", "name"):
            below = OmegaConf.to_container(node)[key]
            found |= keys(node[key], f"{prefix}{key}.") if isinstance(below, dict) else {f"{prefix}{key}"}
    return found


def test_the_settings_page_is_what_conf_says():
    made = runpy.run_path(str(ROOT / "docs" / "settings.py"))["document"]()
    assert (ROOT / "docs" / "settings.md").read_text() == made, "run: python docs/settings.py"


def test_the_settings_page_has_every_choice_and_every_key():
    page = (ROOT / "docs" / "settings.md").read_text()
    for path in [ROOT / "conf" / "config.yaml", *ROOT.glob("conf/*/*.yaml")]:  # conf/hydra/ is Hydra's own
        group = path.parent.name if path.parent.name != "conf" else ""
        across = "# @package _global_" in path.read_text() or not group
        for key in keys(OmegaConf.load(path), "" if across else f"{group}."):
            assert f"| `{key}` |" in page, path
        assert not group or f"- `{group}={path.stem}`" in page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_and_headings(page):
    for target in re.findall(r"\]\((?!http)([^)]+)\)", page.read_text()):
        name, _, heading = target.partition("#")
        there = page.parent / name if name else page
        assert there.exists(), target
        if heading:
            titles = re.findall(r"^#+ (.*)$", there.read_text(), re.M)
            assert heading in [re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles], target


def test_before_a_commit_ruff_has_the_version_of_the_lock():
    (locked,) = re.findall(r"^ruff==(.*)$", (ROOT / "requirements.lock").read_text(), re.M)
    assert f"rev: v{locked}\n" in (ROOT / ".pre-commit-config.yaml").read_text()


def test_the_readme_s_lines_use_an_exported_network(trained, capsys):
    trained("run", "model=dnn", "model.widths=[64,32]", "trainer=cpu", "trainer.max_epochs=2", "logger=none")
    assert run_command(export.main, "run", "--out", "model.onnx").status == 0
    Image.linear_gradient("L").convert("RGBA").save("face.png")
    (code,) = re.findall(r"^```python\n([^`]*onnxruntime.*?)^```", (ROOT / "README.md").read_text(), re.M | re.S)
    exec(code, {})
    assert re.search(r"'neutral': \d", capsys.readouterr().out)


@pytest.mark.slow
def test_the_notebook_runs(tmp_path, few_faces_file, capsys):
    """On a file of FER2013's form; where there is none it takes the built-in faces."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "committed with its outputs"
    sources = {cell.id: cell.source for cell in notebook.cells}
    names = {"Path": Path, "COLAB": False}
    exec(f"{sources['settings']}\n{sources['data']}", names)
    assert names["DATA"] == "data=synthetic"
    assert "NO FER2013 FOUND" in capsys.readouterr().out

    (settings,) = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    settings.source += "\nMODEL, EPOCHS = 'dnn', 1"
    shutil.copytree(few_faces_file.parent, tmp_path / "data")
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    said = "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", []))
    assert f"FER2013: {tmp_path / 'data'}\n" in said
    assert "loading PyTorch …" in said  # before the seconds that this takes
    assert "epoch 1/1" in re.sub(r" +", " ", said)
    assert "Warning" not in said
    assert "GPU available" not in said
    (run,) = (tmp_path / "outputs").iterdir()
    assert (run / "evaluation").is_dir()
    assert (tmp_path / "report.html").stat().st_size > 10_000
