"""Weights in half precision: what is kept of a checkpoint, and what is refused."""

import json
import re
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from fer_lightning.data.datamodule import DATA_STATE, FERDataModule
from fer_lightning.data.faces import PUBLIC
from fer_lightning.data.synthetic import draw
from fer_lightning.errors import UserError
from fer_lightning.models import CNN
from fer_lightning.results.checkpoint import load, read_checkpoint
from fer_lightning.results.weights import packaged, write_weights


@pytest.fixture
def checkpoint() -> dict:
    network = CNN(channels=(2, 2, 2, 2, 2), hidden=4)
    saved: dict = {"state_dict": network.state_dict(), "hyper_parameters": dict(network.hparams)}
    saved["network"] = "fer_lightning.models.cnn.CNN"
    saved[DATA_STATE] = FERDataModule(draw(train=60, test=20)).state_dict()
    return saved


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


def test_the_file_is_one_for_any_program_that_knows_safetensors(checkpoint, tmp_path):
    write_weights(checkpoint, tmp_path / "w.safetensors")
    tensors = load_file(tmp_path / "w.safetensors")
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


@pytest.mark.skipif(packaged() is None, reason="no network comes with the package")
def test_the_package_s_network_scores_what_its_card_says(real_faces):
    path = packaged()
    assert path is not None
    public = real_faces.where(PUBLIC)
    predicted = load(path).probabilities(real_faces.pixels[public]).argmax(axis=1)
    (said,) = re.findall(r"^\| PublicTest \| 3,589 \| (0\.\d+) ", (path.parent / "README.md").read_text(), re.M)
    assert (predicted == real_faces.labels[public]).mean() == pytest.approx(float(said), abs=0.002)


@pytest.mark.parametrize(
    ("content", "reason"),
    [("text", "header too large"), ("foreign", "says nothing of fer_lightning"), ("cut", "not fully covered")],
)
def test_a_file_that_holds_no_weights_of_ours(checkpoint, tmp_path: Path, content: str, reason: str):
    path = tmp_path / "w.safetensors"
    if content == "text":
        path.write_text("emotion,pixels,Usage\n")
    elif content == "foreign":
        save_file({"weight": torch.zeros(2)}, path)
    else:
        write_weights(checkpoint, path)
        path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"w\.safetensors: no weights of fer_lightning") as told:
        read_checkpoint(path)
    assert "\n" not in str(told.value)
    assert reason in str(told.value)
