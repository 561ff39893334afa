"""The files of a trained network: what half precision keeps of a checkpoint, and which files are refused."""

import ast
import json
import re
import sys
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from fer_lightning import models
from fer_lightning.data.datamodule import DATA_STATE, FERDataModule
from fer_lightning.data.faces import CLASSES, PUBLIC
from fer_lightning.data.synthetic import draw
from fer_lightning.errors import UserError
from fer_lightning.models import CNN
from fer_lightning.results.checkpoint import load, read_checkpoint
from fer_lightning.results.weights import packaged, write_weights


@pytest.fixture(scope="module")
def saved_once() -> dict:
    network = CNN(channels=(2, 2, 2, 2, 2), hidden=4)
    saved: dict = {"state_dict": network.state_dict(), "hyper_parameters": dict(network.hparams)}
    saved["network"] = "fer_lightning.models.cnn.CNN"
    saved[DATA_STATE] = FERDataModule(draw(train=60, test=20)).state_dict()
    return saved


@pytest.fixture
def checkpoint(saved_once: dict) -> dict:
    return deepcopy(saved_once)


def test_a_checkpoint_comes_back_rounded_to_half_precision(checkpoint, tmp_path):
    write_weights(checkpoint, tmp_path / "w.safetensors")
    again = read_checkpoint(tmp_path / "w.safetensors")
    assert again["network"] == checkpoint["network"]
    data, kept = dict(checkpoint[DATA_STATE]), dict(again[DATA_STATE])
    assert torch.equal(data.pop("training_digests"), kept.pop("training_digests"))
    assert data == kept
    for name, tensor in checkpoint["state_dict"].items():
        assert again["state_dict"][name].dtype == tensor.dtype
        torch.testing.assert_close(again["state_dict"][name], tensor, rtol=2**-11, atol=2**-25)
    classifier = load(tmp_path / "w.safetensors")
    assert classifier.model.hparams["channels"] == [2, 2, 2, 2, 2]
    assert (classifier.normalize.mean, classifier.normalize.std) == (data["mean"], data["std"])
    tensors = load_file(tmp_path / "w.safetensors")  # as any other program that knows safetensors
    assert set(tensors) == {*checkpoint["state_dict"], "training_digests"}
    assert {tensors[name].dtype for name in tensors if name.endswith("weight")} == {torch.float16}
    with safe_open(tmp_path / "w.safetensors", "pt") as file:
        about = json.loads(file.metadata()["fer_lightning"])
    assert about["data"]["classes"][3] == "happy"


def test_what_does_not_fit_into_half_precision_is_not_written(checkpoint, tmp_path):
    checkpoint["state_dict"]["conv0.2.running_var"][0] = 1e6
    with pytest.raises(OverflowError, match=r"conv0\.2\.running_var"):
        write_weights(checkpoint, tmp_path / "w.safetensors")
    assert not list(tmp_path.iterdir())


# What `python -m fer_lightning.evaluate --data PATH --split public` found on all of PublicTest, as the card says, and
# in the same predictions on its first 64 images. Whoever changes the file counts again. Among these images the two
# likeliest classes are 0.009 apart or more, so rounding on another processor changes no answer.
RIGHT, OF_THE_FIRST_64, LOG_LOSS_OF_THEM = 2509, 46, 0.79691


@pytest.mark.slow
def test_the_package_s_network_scores_what_its_card_says(real_faces):
    path = packaged()
    public = real_faces.where(PUBLIC)
    (said,) = re.findall(r"^\| PublicTest \| 3,589 \| (0\.\d+) ", (path.parent / "README.md").read_text(), re.M)
    assert said == f"{RIGHT / len(public):.4f}"
    labels = real_faces.labels[public[:64]]
    chances = load(path).probabilities(real_faces.pixels[public[:64]])
    assert (chances.argmax(axis=1) == labels).sum() == OF_THE_FIRST_64
    assert -np.log(chances[range(64), labels]).mean() == pytest.approx(LOG_LOSS_OF_THEM, abs=1e-4)


def test_the_card_s_example_runs(tmp_path, monkeypatch, capsys):
    card = packaged().parent / "README.md"
    Image.fromarray(np.arange(60 * 64, dtype=np.uint16).astype(np.uint8).reshape(60, 64)).save(tmp_path / "face.png")
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"^```python\n(.*?)^```", card.read_text(), re.M | re.S)
    exec(code, {})
    chances = ast.literal_eval(capsys.readouterr().out)
    assert tuple(chances) == CLASSES
    assert sum(chances.values()) == pytest.approx(1, abs=1e-4)


# Files that are none of ours, or that want more than to be read

FORMS = pytest.mark.parametrize("form", ["ckpt", "safetensors"])
ABSENT = object()


def save(content: dict, path: Path) -> Path:
    """Any content as a file of either form."""
    if path.suffix == ".ckpt":
        torch.save(content, path)
        return path
    data = content.get(DATA_STATE)
    tensors = {name: tensor.contiguous() for name, tensor in content["state_dict"].items()}
    if isinstance(data, dict) and "training_digests" in data:
        tensors["training_digests"] = data["training_digests"]
        data = {key: value for key, value in data.items() if key != "training_digests"}
    about = {key: content[key] for key in ("network", "hyper_parameters") if key in content}
    save_file(tensors, path, {"fer_lightning": json.dumps(about | ({} if data is None else {"data": data}))})
    return path


def refusal(path: Path) -> str:
    """The one line that `load` refuses a file with."""
    with pytest.raises(UserError) as refused:
        load(path)
    assert "\n" not in str(refused.value)
    assert str(refused.value).startswith(f"{path}: ")
    return str(refused.value).removeprefix(f"{path}: ")


def test_a_file_that_holds_no_weights_of_ours(checkpoint, tmp_path):
    path, weight = tmp_path / "w.safetensors", {"weight": torch.zeros(2)}
    write_weights(checkpoint, path)
    whole = path.read_bytes()
    for write, reason in [
        (lambda: path.write_text("emotion,pixels,Usage\n"), "header too large"),
        (lambda: path.write_bytes(whole[:-100]), "not fully covered"),
        (lambda: save_file(weight, path), "no JSON object 'fer_lightning'"),
        *(
            (lambda about=about: save_file(weight, path, {"fer_lightning": about}), "")
            for about in ("[]", "null", '"network"', "{", "[" * 100_000)
        ),
        (lambda: torch.save({"state_dict": {}}, path), "header too large"),
    ]:
        write()
        said = refusal(path)
        assert said.startswith("not a checkpoint of fer_lightning, or a damaged one: ")
        assert reason in said


@pytest.mark.parametrize("content", [b"", b"emotion,pixels,Usage\n", b"PK\x03\x04", [1, 2], {"state_dict": {}}])
def test_a_file_that_is_no_checkpoint(tmp_path, content):
    path = tmp_path / "w.ckpt"
    path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
    assert refusal(path).startswith("not a checkpoint of fer_lightning, or a damaged one: ")


@FORMS
@pytest.mark.parametrize(("place", "value"), [
    *((("network",), value) for value in (ABSENT, None, ["fer_lightning.models.cnn.CNN"])),
    *((("hyper_parameters",), value) for value in (ABSENT, [])),
    *(((DATA_STATE,), value) for value in (ABSENT, None, "classes")),
    *(((DATA_STATE, key), ABSENT) for key in ("classes", "split", "training_digests")),
    ((DATA_STATE, "classes"), [1, 2]),
    *(((DATA_STATE, "mean"), value) for value in ("0.5", float("nan"))),
    ((DATA_STATE, "std"), 0.0),
    *(((DATA_STATE, "val_split"), value) for value in ("private", 1.5)),
    ((DATA_STATE, "split_seed"), -1), ((DATA_STATE, "synthetic"), "yes"),
    ((DATA_STATE, "split"), {"train": "0"}),
])  # fmt: skip
def test_a_part_that_is_missing_or_of_another_kind_is_named(checkpoint, tmp_path, form, place, value):
    *outer, key = place
    within = checkpoint[outer[0]] if outer else checkpoint
    if value is ABSENT:
        del within[key]
    else:
        within[key] = value
    said = refusal(save(checkpoint, tmp_path / f"w.{form}"))
    assert said.startswith(f"not a checkpoint of fer_lightning, or a damaged one: {'.'.join(place)}")


@FORMS
@pytest.mark.parametrize("arguments", [{"channels": 3}, {"channels": "12345"}, {"hidden": 5}, {"no_such": 1}])
def test_arguments_that_make_no_network(checkpoint, tmp_path, form, arguments):
    checkpoint["hyper_parameters"] |= arguments
    said = refusal(save(checkpoint, tmp_path / f"w.{form}"))
    assert said.startswith("its CNN is another than the one installed here, or damaged: ")


@FORMS
def test_loading_imports_nothing_that_a_file_names(checkpoint, tmp_path, form, monkeypatch):
    """Not even a module that lies in the current folder, as one beside a downloaded file may."""
    module = f"planted_{form}"
    code = "import pathlib\npathlib.Path('ran').touch()\nfrom fer_lightning.models import CNN\nclass Net(CNN): ...\n"
    (tmp_path / f"{module}.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    checkpoint["network"] = f"{module}.Net"
    assert f"its network '{module}.Net' is not known here" in refusal(save(checkpoint, tmp_path / f"w.{form}"))
    assert module not in sys.modules
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", [
    *("", "CNN", "os.system", "torch.nn.modules.linear.Linear", "fer_lightning.errors.UserError"),
    *("fer_lightning.models.cnn.", "fer_lightning.models.cnn.Nope", "fer_lightning.models.nope.Net"),
    *("fer_lightning.models..CNN", "fer_lightning.models.classifier.EmotionClassifier", "a\nb.Net"),
])  # fmt: skip
def test_a_name_that_is_no_network_s(checkpoint, tmp_path, name):
    checkpoint["network"] = name
    assert refusal(save(checkpoint, tmp_path / "w.ckpt")).startswith(f"its network {name!r} is not known here")


def test_a_network_of_one_s_own_is_made_where_its_class_exists(checkpoint, tmp_path):
    class Own(CNN):
        pass

    checkpoint["network"] = f"{Own.__module__}.{Own.__qualname__}"
    assert type(load(save(checkpoint, tmp_path / "w.ckpt")).model) is Own


def test_a_network_of_the_package_is_imported(checkpoint, tmp_path, monkeypatch):
    """A new file of `models/` is found, though nothing else imports it."""
    (tmp_path / "added.py").write_text("from fer_lightning.models import CNN\nclass Added(CNN): ...\n")
    monkeypatch.setattr(models, "__path__", [*models.__path__, str(tmp_path)])
    checkpoint["network"] = "fer_lightning.models.added.Added"
    assert type(load(save(checkpoint, tmp_path / "w.ckpt")).model).__name__ == "Added"
