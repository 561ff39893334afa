"""Maps of a network's answer: held against captum, and whether they light up where the evidence is."""

import captum.attr
import numpy as np
import pytest
import torch
from torch import Tensor

from fer_lightning.data.augment import Normalize
from fer_lightning.models import CNN, DNN, ResNet18
from fer_lightning.results import maps
from fer_lightning.results.checkpoint import Classifier

SMALL = {
    "cnn": (lambda: CNN((4, 4, 8, 8, 8), 16), "conv3"),
    "dnn": (lambda: DNN((64, 32)), None),
    "resnet18": (ResNet18, "resnet.layer4"),
}
MOUTH = (slice(30, 46), slice(12, 36))


def network(name: str) -> torch.nn.Module:
    torch.manual_seed(0)
    return SMALL[name][0]().eval()


@pytest.fixture
def faces() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn((5, 1, 48, 48), generator=generator), torch.tensor([0, 3, 3, 6, 2])


@pytest.mark.parametrize("name", ["cnn", "resnet18"])
def test_grad_cam_is_that_of_captum(name, faces):
    model, (images, targets) = network(name), faces
    layer = model.get_submodule(SMALL[name][1])
    assert maps.map_layer(model) is layer
    found = maps.grad_cam(model, layer, images, targets)
    theirs = captum.attr.LayerGradCam(model, layer).attribute(images, targets, relu_attributions=True)
    theirs = captum.attr.LayerAttribution.interpolate(theirs, (48, 48), "bilinear")
    assert found.max() > 0
    torch.testing.assert_close(found, theirs[:, 0].detach(), rtol=1e-6, atol=0)


@pytest.mark.parametrize("name", ["cnn", "dnn"])
def test_smooth_grad_is_that_of_captum_with_the_same_noise(name, faces, monkeypatch):
    model, (images, targets) = network(name), faces
    found = maps.smooth_grad(model, images, targets, 6)
    monkeypatch.setattr(torch, "normal", lambda mean, std: mean + std * maps.noise(6))
    tunnel = captum.attr.NoiseTunnel(captum.attr.Saliency(model))
    for image, target, map_ in zip(images, targets, found, strict=True):
        stdevs = maps.NOISE * float(image.max() - image.min())
        theirs = tunnel.attribute(
            image[None], nt_type="smoothgrad", nt_samples=6, stdevs=stdevs, target=int(target), abs=False
        )
        torch.testing.assert_close(map_, theirs[0, 0].abs(), rtol=1e-4, atol=1e-6)  # sums of six in another order


@pytest.mark.parametrize("name", ["cnn", "dnn"])
def test_a_map_is_a_face_s_own_whatever_stands_beside_it_and_leaves_the_network_as_it_was(name):
    model = network(name)
    classifier = Classifier(model, Normalize(0.5, 0.25), {})
    before = {key: value.clone() for key, value in model.state_dict().items()}
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (maps.BATCH + 2, 48, 48), np.uint8)
    pixels[0] = 0
    targets = rng.integers(0, 7, len(pixels))
    done: list[int] = []
    found = maps.maps_of(classifier, pixels, targets, 2, done.append)
    assert done == [maps.BATCH, 2]
    assert [*found] == ([maps.GRAD_CAM, maps.SMOOTH_GRAD] if name == "cnn" else [maps.SMOOTH_GRAD])
    alone = maps.maps_of(classifier, pixels[-1:], targets[-1:], 2)
    for kind, several in found.items():
        assert several.dtype == np.float32
        assert several.min() >= 0
        sums = several.sum((1, 2))
        assert (np.isclose(sums, 1, atol=1e-5) | (sums == 0)).all()
        assert (sums > 0).mean() > 0.5
        np.testing.assert_allclose(several[-1], alone[kind][0], rtol=1e-3, atol=1e-6)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert maps.maps_of(classifier, pixels[:0], targets[:0])[maps.SMOOTH_GRAD].shape == (0, 48, 48)


def striped(n: int) -> tuple[Tensor, Tensor]:
    """Noise, whose class the stripes of its mouth tell: across (0) or upright (1)."""
    generator = torch.Generator().manual_seed(0)
    images = 2 * torch.randn((n, 1, 48, 48), generator=generator).sign()
    targets = torch.arange(n) % 2
    stripes = (torch.arange(24) % 8 < 4).float() * 4 - 2
    rows, columns = MOUTH
    images[targets == 0, :, rows, columns] = stripes[:16, None].expand(16, 24)
    images[targets == 1, :, rows, columns] = stripes.expand(16, 24)
    return images, targets


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cnn", "dnn"])
def test_the_map_of_a_trained_network_lies_where_the_evidence_is_and_a_random_one_s_does_not(name):
    images, targets = striped(64)
    area = 16 * 24 / 48**2
    shares: dict[str, list[float]] = {}
    random = network(name)
    torch.manual_seed(0)
    model = CNN((4, 4, 8, 8, 8), 16, conv_dropout=[0] * 5, fc_dropout=0) if name == "cnn" else network(name)
    optimizer = torch.optim.Adam(model.train().parameters(), lr=0.01)
    for _ in range(20):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(images), targets).backward()
        optimizer.step()
    for each in (model.eval(), random):
        if each is model:
            assert (each(images).argmax(1) == targets).float().mean() > 0.95
        layer = maps.map_layer(each)
        found = {maps.SMOOTH_GRAD: maps.smooth_grad(each, images[:32], targets[:32], 8)}
        if layer is not None:
            found[maps.GRAD_CAM] = maps.grad_cam(each, layer, images[:32], targets[:32])
        for kind, several in found.items():
            shares.setdefault(kind, []).append(float(several[:, *MOUTH].sum() / several.sum()))
    for kind, (trained, untrained) in shares.items():
        assert trained > 1.7 * area, (kind, shares)
        assert untrained < 1.2 * area, (kind, shares)
