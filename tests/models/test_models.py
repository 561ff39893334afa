"""The published networks: layers, names and sizes, and what any network promises to the trainer."""

import copy
import pickle
from dataclasses import replace

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from fer_lightning.__main__ import CONF
from fer_lightning.data import synthetic
from fer_lightning.data.datamodule import Batches, FERDataModule
from fer_lightning.data.faces import PRIVATE, PUBLIC, Faces
from fer_lightning.models import CNN, DNN, EmotionClassifier, ResNet18
from fer_lightning.models.layers import Dropout
from fer_lightning.results.checkpoint import load


def layers(block: nn.Sequential) -> list[str]:
    return [type(layer).__name__ for layer in block]


def check_network(network: EmotionClassifier, parameters: int, children: list[str]) -> None:
    assert sum(p.numel() for p in network.parameters() if p.requires_grad) == parameters
    assert [name for name, _ in network.named_children()] == children
    logits = network.eval()(torch.zeros(3, 1, 48, 48))
    assert (logits.shape, logits.dtype) == ((3, 7), torch.float32)


def test_cnn_is_the_published_network_block_by_block():
    cnn = CNN()
    check_network(cnn, 5_758_791, [*(f"conv{i}" for i in range(5)), "fc1", "fc2", "fc3"])
    expected = [(1, 64, 5, 0.2), (64, 64, 5, 0.25), (64, 128, 3, 0.3), (128, 512, 3, 0.4), (512, 512, 3, 0.5)]
    for i, (inputs, outputs, kernel, dropout) in enumerate(expected):
        block = getattr(cnn, f"conv{i}")
        pool = ["MaxPool2d"] if i else []
        assert layers(block) == ["Conv2d", "LeakyReLU", "BatchNorm2d", *pool, "Dropout2d"]
        assert (block[0].in_channels, block[0].out_channels, block[0].kernel_size[0]) == (inputs, outputs, kernel)
        assert block[0].padding == (kernel // 2, kernel // 2)
        assert block[1].negative_slope == 0.05
        assert block[-1].p == dropout
    for name, inputs in (("fc1", 4608), ("fc2", 512)):
        block = getattr(cnn, name)
        assert layers(block) == ["Linear", "ReLU", "BatchNorm1d", "Dropout"]
        assert (block[0].in_features, block[0].out_features, block[-1].p) == (inputs, 512, 0.5)


def test_dnn_is_the_published_network_block_by_block():
    dnn = DNN()
    check_network(dnn, 5_778_439, ["fc1", "fc2", "fc3"])
    for name, inputs, outputs, dropout in (("fc1", 2304, 2048, 0.4), ("fc2", 2048, 512, 0.5)):
        block = getattr(dnn, name)
        assert layers(block) == ["Linear", "ReLU", "BatchNorm1d", "Dropout"]
        assert (block[0].in_features, block[0].out_features, block[-1].p) == (inputs, outputs, dropout)


def test_resnet18_is_torchvisions_but_for_its_first_and_last_layer():
    from torchvision.models import resnet18

    resnet, theirs = ResNet18(), resnet18()
    check_network(resnet, 11_171_271, ["resnet"])
    assert "11,171,271 parameters" in (CONF / "model" / "resnet18.yaml").read_text()
    mine = {name.removeprefix("resnet."): tensor.shape for name, tensor in resnet.state_dict().items()}
    other = {name for name, tensor in theirs.state_dict().items() if mine[name] != tensor.shape}
    assert mine.keys() == theirs.state_dict().keys()
    assert other == {"conv1.weight", "fc.weight", "fc.bias"}
    assert mine["conv1.weight"] == (64, 1, 3, 3)
    assert resnet.resnet.conv1(torch.zeros(1, 1, 48, 48)).shape[-1] == 48


def test_smoothing_acts_in_training_only():
    """The loss of a step is torch's cross-entropy, smoothed in training, plain in validation.

    That of training is recorded without smoothing as well, to compare with validation's.
    """
    model = DNN(widths=(8, 8), label_smoothing=0.3).eval()
    faces, targets = torch.rand(5, 1, 48, 48), torch.tensor([0, 1, 2, 3, 6])
    logits = model(faces)
    assert model.training_step((faces, targets), 0) == nn.CrossEntropyLoss(label_smoothing=0.3)(logits, targets)
    model.validation_step((faces, targets), 0)
    plain = nn.CrossEntropyLoss()(logits, targets).item()
    smoothed = nn.CrossEntropyLoss(label_smoothing=0.3)(logits, targets).item()
    for prefix, loss in (("train/", smoothed), ("val/", plain)):
        means = model.means[prefix].compute()
        assert means["loss"] == pytest.approx(loss, rel=1e-6)
        assert means["cross_entropy"] == pytest.approx(plain, rel=1e-6)
        assert means["acc"] == (logits.argmax(1) == targets).float().mean()
        assert means["images"] == 5

    model = DNN(widths=(8, 8))  # where nothing is smoothed the objective is the cross-entropy, to the last digit
    for size in (7, 4, 5):
        model.training_step((torch.rand(size, 1, 48, 48), torch.arange(size)), 0)
    means = model.means["train/"].compute()
    assert means["cross_entropy"] == means["loss"]


def test_mixed_targets_are_hit_by_their_share():
    model = DNN(widths=(8, 8)).eval()
    faces = torch.rand(2, 1, 48, 48)
    predicted = model(faces).argmax(1)
    targets = torch.zeros(2, 7)
    targets[range(2), predicted] = torch.tensor([0.75, 0.5])
    targets[range(2), (predicted + 1) % 7] = torch.tensor([0.25, 0.5])
    loss = model.training_step((faces, targets), 0)
    assert loss == nn.CrossEntropyLoss()(model(faces), targets)
    assert model.means["train/"].sums[2:].tolist() == [1.25, 2]


def test_running_sums_are_each_ranks_own_and_in_no_checkpoint(tmp_path):
    """DDP sends the first rank's buffers to all others at every step of a training."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        model = DNN(widths=(8, 8))
        sent = nn.parallel.DistributedDataParallel(model).modules_buffers
    finally:
        torch.distributed.destroy_process_group()
    layers = {name.split(".")[0] for name in model.state_dict()}
    assert layers == {"fc1", "fc2", "fc3"}
    assert len(sent) == len([name for name in model.state_dict() if "running" in name or "tracked" in name]) == 6


@pytest.mark.parametrize("network", [CNN([2] * 5, hidden=4), DNN(widths=(8, 8))], ids=["cnn", "dnn"])
def test_weight_decay_spares_biases_and_batch_normalization(network):
    assert len(network.configure_optimizers().param_groups) == 1  # as always, where there is none
    network.make_optimizer = lambda p: torch.optim.AdamW(p, lr=0.1, weight_decay=0.5)
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    groups = network.configure_optimizers().param_groups
    assert [group["weight_decay"] for group in groups] == [0.5, 0.0]
    decayed, spared = ({names[id(p)] for p in group["params"]} for group in groups)
    assert decayed | spared == set(names.values())
    kinds = (nn.Conv2d, nn.Linear)
    assert decayed == {f"{name}.weight" for name, layer in network.named_modules() if isinstance(layer, kinds)}


def test_the_cnn_takes_smaller_faces_and_is_the_published_one_on_others(monkeypatch):
    cnn = CNN(channels=(2, 2, 2, 2, 2), hidden=4).eval()
    for size in (16, 32, 40, 64):
        assert cnn(torch.rand(2, 1, size, size)).shape == (2, 7)
    monkeypatch.setattr(torch.nn.functional, "adaptive_max_pool2d", lambda *args: pytest.fail("pooled"))
    cnn(torch.rand(2, 1, 48, 48))
    assert ResNet18().eval()(torch.rand(2, 1, 16, 16)).shape == (2, 7)
    assert CNN.any_size
    assert ResNet18.any_size
    assert not DNN.any_size


@pytest.mark.parametrize(("make", "named"), [
    (lambda: CNN(channels=(64, 64)), "channels"),
    (lambda: CNN(conv_dropout=(0.2, 0.2, 0.2, 0.2, 1.0)), "conv_dropout"),
    (lambda: CNN(hidden=0), "hidden"), (lambda: DNN(widths=(0, 5)), "widths"),
    (lambda: DNN(dropout=(0.5,)), "dropout"),
    (lambda: DNN(label_smoothing=1.0), "label_smoothing"),
])  # fmt: skip
def test_impossible_arguments_are_refused(make, named):
    with pytest.raises(ValueError, match=named):
        make()


def plain_trainer(folder, **arguments) -> pl.Trainer:
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
    return pl.Trainer(accelerator="cpu", default_root_dir=folder, **quiet, **arguments)


@pytest.fixture(scope="module")
def faces() -> Faces:
    """Few synthetic faces, of which the last are PrivateTest."""
    few = synthetic.draw(train=200, test=280)
    usage = few.usage.copy()
    usage[few.where(PUBLIC)[-120:]] = PRIVATE
    return replace(few, usage=usage)


@pytest.mark.filterwarnings("ignore:.*smaller than the logging interval")
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_network_and_the_data_module_are_trained_tested_and_predict_in_any_trainer(tmp_path, faces, precision):
    """Without this project's configuration, recorder or checkpoints.

    `trainer.test` and `trainer.predict` give what this project's own scoring gives, to the last digit.
    """
    torch.manual_seed(0)
    data = FERDataModule(faces, batch_size=32)
    trainer = plain_trainer(tmp_path, max_epochs=10, precision=precision, enable_checkpointing=False)
    trainer.fit(DNN(widths=(32, 16), dropout=(0, 0), label_smoothing=0.1), data)
    assert trainer.callback_metrics["train/cross_entropy"] < 1.5  # it learns
    assert trainer.callback_metrics["train/images"] == len(data.splits["train"])
    assert 0 <= trainer.callback_metrics["val/acc"] <= 1
    trainer.save_checkpoint(tmp_path / "best.ckpt")

    model, data = DNN.load_from_checkpoint(tmp_path / "best.ckpt"), FERDataModule(faces)
    assert (model.label_smoothing, model.fc1[0].out_features) == (0.1, 32)
    trainer = plain_trainer(tmp_path, precision=precision)
    predictions = trainer.predict(model, datamodule=data)
    predicted = dict(zip(trainer.predict_dataloaders, predictions, strict=True))
    tested = trainer.test(model, datamodule=data, verbose=False)[0]
    validated = trainer.validate(model, datamodule=data, verbose=False)[0]

    classifier = load(tmp_path / "best.ckpt")
    assert list(predicted) == ["val", "public", "private"]
    for split, batches in predicted.items():
        where = data.splits[split]
        expected = classifier.probabilities(faces.pixels, precision, where=where)
        assert torch.cat(batches).dtype == torch.float32
        np.testing.assert_array_equal(torch.cat(batches), expected)
        loss, acc = (
            (validated if split == "val" else tested).pop(f"val/{name}" if split == "val" else f"test/{split}_{name}")
            for name in ("loss", "acc")
        )
        assert acc == pytest.approx((expected.argmax(1) == faces.labels[where]).mean(), abs=1e-6)
        assert loss == pytest.approx(-np.log(expected[range(len(where)), faces.labels[where]]).mean(), abs=1e-3)
    assert tested == validated == {}


def test_loaders_without_names_are_tested_too(tmp_path):
    batch = (torch.rand(5, 1, 48, 48), torch.arange(5))
    loaders = [Batches(batch, torch.arange(n), 2) for n in (5, 3)]
    trainer, model = plain_trainer(tmp_path), DNN(widths=(8, 8))
    right = (model.eval()(batch[0]).argmax(1) == batch[1]).float()
    for given, expected in ((loaders[0], {"test/": 5}), (loaders, {"test/0_": 5, "test/1_": 3})):
        found = trainer.test(model, given, verbose=False)[0]
        for prefix, n in expected.items():
            assert found.pop(f"{prefix}acc") == pytest.approx(right[:n].mean().item())
        assert not any(name.endswith("acc") for name in found)


# Networks of one's own, none of which knows of hyper-parameters


class Own(EmotionClassifier):
    """Changes an argument before the base hears of it, and decides one of the base's."""

    def __init__(self, width: int, depth: int = 1, optimizer=None, scheduler=None) -> None:
        width *= 2
        super().__init__(0.1, optimizer, scheduler)
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(48 * 48, width), nn.ReLU(), nn.Linear(width, 7))

    def forward(self, faces: Tensor) -> Tensor:
        return self.layers(faces)


class Heir(Own):
    """The subclass of a subclass, with a network inside that has arguments of the same names."""

    def __init__(self, depth: int = 3, **others) -> None:
        super().__init__(4, depth=2, **others)
        self.inner = Own(width=1)


class Bare(Own):
    """Without arguments."""

    def __init__(self) -> None:
        super().__init__(3)


MADE = {
    "own": (lambda: Own(5, optimizer=torch.optim.Adam), {"width": 5, "depth": 1}),
    "heir": (lambda: Heir(scheduler=None), {"depth": 3}),
    "bare": (Bare, {}),
    "cnn": (
        lambda: CNN([2] * 5, hidden=4),
        {"channels": [2] * 5, "hidden": 4, "conv_dropout": (0.2, 0.25, 0.3, 0.4, 0.5), "fc_dropout": 0.5,
         "label_smoothing": 0.0},
    ),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:.*smaller than the logging interval")
@pytest.mark.parametrize("name", MADE)
def test_any_networks_checkpoint_makes_it_again(tmp_path, faces, name):
    make, arguments = MADE[name]
    model = make()
    trainer = plain_trainer(tmp_path, max_epochs=1, limit_train_batches=1, limit_val_batches=1)
    trainer.fit(model, FERDataModule(faces))
    trainer.save_checkpoint(tmp_path / "best.ckpt")
    assert torch.load(tmp_path / "best.ckpt", weights_only=True)["hyper_parameters"] == arguments
    for again in (type(model).load_from_checkpoint(tmp_path / "best.ckpt"), load(tmp_path / "best.ckpt").model):
        assert type(again) is type(model)
        assert dict(again.hparams) == arguments
        torch.testing.assert_close(again.state_dict(), model.state_dict(), rtol=0, atol=0)


def test_networks_can_be_copied_and_pickled_and_have_arguments_by_name():
    model = Own(2)
    for again in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert dict(again.hparams) == {"width": 2, "depth": 1}
        torch.testing.assert_close(again.state_dict(), model.state_dict(), rtol=0, atol=0)

    class Nameless(DNN):
        def __init__(self, *widths: int) -> None:
            super().__init__(widths)

    with pytest.raises(TypeError, match=r"Nameless keeps its arguments by name; give \(8, 8\) by name too"):
        Nameless(8, 8)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dropout_is_torchs_but_for_the_draw(dtype):
    """Kept values are scaled to keep the mean, the gradient passes where a value did, evaluation changes nothing."""
    dropout = Dropout(0.4)
    x = torch.full((200, 500), 3.0, dtype=dtype, requires_grad=True)
    torch.manual_seed(0)
    y = dropout(x)
    assert y.dtype == dtype
    kept = y != 0
    assert kept.float().mean().item() == pytest.approx(0.6, abs=0.01)
    torch.testing.assert_close(y[kept], torch.full_like(y[kept], 5.0))
    y.sum().backward()
    assert ((x.grad != 0) == kept).all()
    torch.testing.assert_close(x.grad[kept], torch.full_like(y[kept], 1 / 0.6))
    torch.manual_seed(1)
    assert (dropout(x) != y).any()
    assert dropout.eval()(x) is x
    assert repr(dropout) == repr(nn.Dropout(0.4))


@pytest.mark.parametrize("distilled", [False, True])
@pytest.mark.parametrize("mixed", [False, True])
def test_weighed_classes_weigh_images_in_the_training_loss_alone(mixed, distilled):
    torch.manual_seed(0)
    model, weights = DNN(widths=(8, 8), label_smoothing=0.1).eval(), torch.tensor([1.0, 9.0, 1.0, 0.5, 0.8, 1.3, 0.8])
    faces, labels = torch.rand(6, 1, 48, 48), torch.tensor([0, 1, 2, 3, 6, 6])
    sharp = nn.functional.one_hot(labels, 7).float()
    given = torch.lerp(sharp.roll(1, 0), sharp, 0.7) if mixed else labels
    batch = (faces, given)
    of_image = (given if mixed else sharp) @ weights
    logits = model(faces)
    expected = nn.CrossEntropyLoss(label_smoothing=0.1, reduction="none")(logits, given)
    if distilled:
        soft_targets = torch.rand(6, 7).softmax(1)
        model.distill_from(None, weight=0.3, temperature=2.0)
        batch = (*batch, soft_targets)
        divergence = (soft_targets * (soft_targets.log() - (logits / 2).log_softmax(1))).sum(1)
        expected = 0.7 * expected + 0.3 * 4 * divergence
    without = model.training_step(batch, 0)
    torch.testing.assert_close(without, expected.mean())
    model.means["train/"].reset()
    model.weigh_classes(weights)
    torch.testing.assert_close(model.training_step(batch, 0), (of_image * expected).mean())
    model.validation_step((faces, labels), 0)
    plain = nn.CrossEntropyLoss()
    torch.testing.assert_close(model.means["train/"].compute()["cross_entropy"], plain(logits, given).detach())
    torch.testing.assert_close(model.means["val/"].compute()["loss"], plain(logits, labels).detach())
    assert "class_weights" not in model.state_dict()
