"""A network as an ONNX file: complete, equal to PyTorch's, and never in place of anything else."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from commands import Ended, run_command
from PIL import Image

from fer_lightning import export
from fer_lightning.data.augment import Normalize
from fer_lightning.data.faces import CLASSES
from fer_lightning.errors import UserError
from fer_lightning.models.resnet import ResNet18
from fer_lightning.photographs import LIMITS
from fer_lightning.results import calibration, onnx_file
from fer_lightning.results.calibration import Calibration, at_temperature
from fer_lightning.results.checkpoint import Classifier, load
from fer_lightning.results.members import open_member

README = Path(__file__).parents[1] / "README.md"
TRAINING = ("model=dnn", "model.widths=[64,32]", "trainer=cpu", "trainer.max_epochs=2", "logger=none")


@pytest.fixture
def run(trained) -> Path:
    return trained("run", *TRAINING)


@pytest.fixture(scope="module")
def exported(_trained_once, tmp_path_factory) -> tuple[Path, Ended]:
    """A run's model.onnx, and how the command that made it ended."""
    path = tmp_path_factory.mktemp("exported") / "model.onnx"
    return path, run_command(export.main, _trained_once(*TRAINING), "--out", path)


@pytest.mark.slow
def test_resnet18_answers_as_pytorch_does(few_faces):  # the CNN does in tests/photographs/test_web_page.py
    classifier = Classifier(ResNet18().eval().half().float(), Normalize(0.5, 0.25), {})
    model = onnx_file.network_to_onnx(classifier, Calibration(temperature=0.2), {})
    expected = at_temperature(classifier.probabilities(few_faces.pixels[:5]), 0.2)
    # Its batch normalization goes into the weights before they are rounded.
    assert np.abs(onnx_file.run(model, few_faces.pixels[:5]) - expected).max() < 1e-3


def test_a_run_becomes_a_file_that_says_what_it_is(run, exported, few_faces, capsys):
    path, ended = exported
    assert ended.status == 0, ended.err
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert str(Path(__file__).parents[1]).encode() not in path.read_bytes()
    fitted = calibration.of(run)
    assert str(fitted) in ended.out
    assert "validation images of" in ended.out
    assert LIMITS in ended.out
    about = {each.key: each.value for each in model.metadata_props}
    assert tuple(json.loads(about["classes"])) == CLASSES
    classifier = load(run)
    assert (float(about["mean"]), float(about["std"])) == (classifier.normalize.mean, classifier.normalize.std)
    assert (float(about["temperature"]), float(about["threshold"])) == (fitted.temperature, 0.5)
    assert (about["checkpoint"], about["trained_on"]) == ("run/best.ckpt", "synthetic")
    assert "/run, trained on SYNTHETIC FACES" in ended.out
    assert about["limits"] == LIMITS
    for pixels in (few_faces.pixels[:1], few_faces.pixels[:50]):
        expected = at_temperature(classifier.probabilities(pixels), fitted.temperature)
        assert np.abs(onnx_file.run(model, pixels) - expected).max() < 1e-3  # weights are rounded to float16
    parameters = sum(parameter.numel() for parameter in classifier.model.parameters())
    assert model.ByteSize() < 2 * parameters + 30_000

    shutil.copy(path, "model.onnx")
    Image.linear_gradient("L").convert("RGBA").save("face.png")
    (code,) = re.findall(r"^```python\n([^`]*onnxruntime.*?)^```", README.read_text(), re.M | re.S)
    exec(code, {})
    assert re.search(r"'neutral': \d", capsys.readouterr().out)


@pytest.mark.slow
def test_int8_replaces_an_earlier_export_and_says_what_it_costs(run, exported, few_faces, monkeypatch):
    path, usual = exported[0], onnx_file.network_to_onnx
    made = lambda *given, half=True, **more: onnx.load(path) if half else usual(*given, half=False, **more)  # noqa: E731
    monkeypatch.setattr(onnx_file, "network_to_onnx", made)  # once is enough
    shutil.copy(path, "model.onnx")
    ended = run_command(export.main, "run", "--int8", "--out", "model.onnx")
    assert ended.status == 0, ended.err
    assert "accuracy on them: " in ended.out
    model, small = onnx.load(path), onnx.load("model.onnx")
    about, before = ({each.key: each.value for each in file.metadata_props} for file in (small, model))
    assert about.items() >= before.items()
    kinds = {tensor.data_type for tensor in small.graph.initializer if len(tensor.dims) == 2}
    assert kinds == {onnx.TensorProto.INT8}
    answers, expected = (onnx_file.run(file, few_faces.pixels[:50]) for file in (small, model))
    assert (answers.argmax(axis=1) == expected.argmax(axis=1)).mean() > 0.9


def test_a_network_whose_data_is_not_here_is_tried_on_built_in_faces(run, capsys):
    member = open_member("run")
    member.data["synthetic"] = False
    trial = export.faces_to_try(member, None)
    assert trial.target is None
    assert trial.name == "built-in faces"
    assert "validation images are not here (run: it was trained on FER2013" in capsys.readouterr().out
    with pytest.raises(UserError, match="gone"):
        export.faces_to_try(member, "gone")


@pytest.fixture
def made(exported, monkeypatch) -> None:
    """Nothing is exported anew."""
    monkeypatch.setattr(onnx_file, "network_to_onnx", lambda *_, **__: onnx.load(exported[0]))


def test_a_file_that_answers_otherwise_is_not_left(run, made, monkeypatch):
    usual = onnx_file.run
    monkeypatch.setattr(onnx_file, "run", lambda model, pixels: usual(model, pixels) + 0.02)
    ended = run_command(export.main, "run", "--out", "model.onnx")
    assert ended.status == 1
    assert "differ from PyTorch's by more than 0.01" in ended.err
    monkeypatch.setattr(onnx_file, "run", usual)
    monkeypatch.setattr(onnx_file, "to_int8", lambda model, _: model)
    monkeypatch.setattr(export, "AGREEMENT", 1.1)
    ended = run_command(export.main, "run", "--int8", "--out", "model.onnx")
    assert ended.status == 1
    assert "int8 changes more than" in ended.err
    assert not Path("model.onnx").exists()


@pytest.mark.parametrize(
    ("out", "said"),
    [
        ("model.pt", "the name must end in .onnx"),
        ("gone/model.onnx", "there is no folder gone"),
        ("folder.onnx", "it is a folder"),
        ("other.onnx", "it exists and is no export"),
        ("article.html", "it exists and is no export"),
    ],
)
def test_what_must_not_be_written_is_refused_before_any_work(out, said):
    Path("folder.onnx").mkdir()
    Path("other.onnx").write_bytes(b"somebody's")
    Path("article.html").write_text("<code>python -m fer_lightning.export --out page.html</code> makes a page")
    ended = run_command(export.main, "no such run", "--out", out)
    assert ended.status == 2
    assert ended.err.startswith(f"fer_lightning: --out {out}: {said}")
    assert Path("other.onnx").read_bytes() == b"somebody's"


def test_a_missing_package_is_one_message(monkeypatch):
    usual = export.importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "onnxscript" else usual(name))
    ended = run_command(export.main, "--out", "model.onnx")
    assert ended.status == 2
    assert ended.err == "fer_lightning: export needs onnxscript: pip install -e '.[export]'\n"


def test_a_page_is_one_file_which_replaces_an_earlier_one(run, made):
    Path("page.html").write_text(f"an earlier one: <code>{export.MARKER}</code>")
    ended = run_command(export.main, "run", "--out", "page.html")
    assert ended.status == 0, ended.err
    page = Path("page.html").read_text(encoding="utf-8")
    assert "the DNN of run/best.ckpt: temperature" in page
    assert 'class="map"' not in page  # Grad-CAM is the CNN's
    assert page.count("<script") == 7
