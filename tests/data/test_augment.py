"""The batched warp against torchvision's per-image one, and what each strength does."""

import pytest
import torch
import torch.nn.functional as F
from torchvision import transforms
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as reference

from fer_lightning.data.augment import Augment, Mix, Normalize, beta, warp


@pytest.fixture
def faces() -> torch.Tensor:
    return torch.rand(64, 1, 48, 48, generator=torch.Generator().manual_seed(1))


def test_warp_is_torchvisions_affine_then_hflip(faces):
    draw = torch.Generator().manual_seed(2)
    signed = 2 * torch.rand(4, len(faces), generator=draw) - 1
    degrees, shear, scale = 25 * signed[0], 20 * signed[1], 1 + 0.3 * signed[2]
    translate = 0.2 * (2 * torch.rand(len(faces), 2, generator=draw) - 1)
    flip = signed[3] > 0
    warped = warp(faces, degrees, translate, scale, shear, flip)
    for i, face in enumerate(faces):
        expected = reference.affine(
            face,
            angle=degrees[i].item(),
            translate=[48 * t for t in translate[i].tolist()],
            scale=scale[i].item(),
            shear=[shear[i].item(), 0.0],
            interpolation=InterpolationMode.BILINEAR,
        )
        if flip[i]:
            expected = reference.hflip(expected)
        torch.testing.assert_close(warped[i], expected, atol=2e-4, rtol=0)


def test_image_by_image_is_the_studys_transforms_and_left_alone_by_the_compiler(faces):
    study = transforms.Compose([
        transforms.RandomAffine(0, translate=(0.1, 0.1), scale=(0.9, 1.1), shear=10, fill=0),
        transforms.RandomRotation(10),
        transforms.RandomHorizontalFlip(),
        transforms.ToTensor(),
    ])  # fmt: skip
    augment = Augment(degrees=10, translate=0.1, scale=[0.9, 1.1], shear=10, flip=0.5, image_by_image=True)
    pixels = (255 * faces).byte()
    torch.manual_seed(5)
    expected = torch.stack([study(reference.to_pil_image(image)) for image in pixels])
    torch.manual_seed(5)
    torch.testing.assert_close(augment(pixels.float() / 255), expected, atol=0, rtol=0)
    assert (expected != pixels.float() / 255).any()
    torch._dynamo.reset()
    explained = torch._dynamo.explain(lambda batch: augment(batch) - 0.5)(faces)
    assert explained.graph_count == 1  # of the subtraction; nothing of PIL was traced
    assert explained.op_count == 1


@pytest.mark.parametrize(
    "strength",
    [{"degrees": 10}, {"translate": 0.1}, {"scale": [0.9, 1.1]}, {"shear": 10}, {"flip": 0.5}, {"contrast": 0.3},
     {"erase": 0.5}],
    ids=lambda strength: next(iter(strength)),
)  # fmt: skip
def test_each_strength_acts_on_each_image_by_itself(faces, strength):
    same = faces[:1].expand(200, -1, -1, -1)
    torch.manual_seed(0)
    changed = Augment(**strength)(same)
    assert changed.shape == same.shape
    assert changed.min() >= 0
    assert changed.max() <= 1
    distinct = len(torch.unique(changed.flatten(1), dim=0))
    assert distinct == 2 if "flip" in strength else distinct > 80
    torch.testing.assert_close(Augment()(faces), faces, atol=0, rtol=0)  # and without any, nothing changes


def test_flips_are_the_share_and_moves_within_the_bound_that_are_named(faces):
    torch.manual_seed(0)
    same = faces[:1].expand(2000, -1, -1, -1)
    mirrored = (Augment(flip=0.25)(same) - same.flip(3)).abs().amax((1, 2, 3)) < 1e-4
    assert 0.2 < mirrored.float().mean() < 0.3
    dot = torch.zeros(500, 1, 48, 48)
    dot[:, :, 24, 24] = 1
    moved = Augment(translate=0.1)(dot).flatten(1).argmax(1)
    offsets = torch.stack([moved % 48, moved // 48]) - 24
    assert offsets.abs().max() == 5  # 0.1 × 48 = 4.8, to the nearest pixel


def test_erase_blacks_out_one_rectangle():
    torch.manual_seed(0)
    white = torch.ones(400, 1, 48, 48)
    black = Augment(erase=0.5)(white) == 0
    share = black.float().mean((1, 2, 3))
    assert 0.4 < (share > 0).float().mean() < 0.6
    assert share.max() < 0.23
    rows, columns = black.any(3).float().sum((1, 2)), black.any(2).float().sum((1, 2))
    torch.testing.assert_close(rows * columns, black.float().sum((1, 2, 3)))


@pytest.mark.parametrize("arguments", [
    {"degrees": -1}, {"flip": 2}, {"scale": [1.1, 0.9]}, {"scale": [0.0, 1.0]}, {"mixup": -1}, {"cutmix": float("inf")},
])  # fmt: skip
def test_impossible_strengths_are_refused(arguments):
    (name,) = arguments
    with pytest.raises(ValueError, match=name):
        Mix(7, **arguments) if "mix" in name else Augment(**arguments)


def test_normalize_is_torchvisions(faces):
    torch.testing.assert_close(Normalize(0.5077, 0.255)(faces), reference.normalize(faces, [0.5077], [0.255]))
    torch.testing.assert_close(Normalize()(faces), faces)
    with pytest.raises(ValueError, match="std"):
        Normalize(0.5, 0.0)


TARGETS = torch.arange(64) % 8  # no image beside one of its own class


def other(x: torch.Tensor) -> torch.Tensor:
    return x.roll(1, 0)


def test_mixup_mixes_each_image_and_its_target_in_one_share(faces):
    torch.manual_seed(0)
    mixed, targets = Mix(8, mixup=0.4)(faces, TARGETS)
    assert mixed.shape == faces.shape
    hard = F.one_hot(TARGETS, 8).float()
    apart = faces - other(faces)
    share = ((mixed - other(faces)) * apart).sum((1, 2, 3)) / apart.square().sum((1, 2, 3))
    torch.testing.assert_close(mixed, other(faces) + share.view(-1, 1, 1, 1) * apart, atol=1e-5, rtol=0)
    torch.testing.assert_close(targets, other(hard) + share.view(-1, 1) * (hard - other(hard)), atol=1e-4, rtol=0)
    assert len(share.unique()) > 60


def test_cutmix_pastes_a_rectangle_of_the_next_image_and_its_share_of_the_target(faces):
    torch.manual_seed(0)
    more = 2 * F.one_hot(TARGETS, 8).float()  # what teachers said, say
    mixed, targets, further = Mix(8, cutmix=1.0)(faces, TARGETS, more)
    torch.testing.assert_close(further, 2 * targets)
    pasted = mixed == other(faces)
    assert (pasted | (mixed == faces)).all()
    rows, columns = pasted.any(3).float().sum((1, 2)), pasted.any(2).float().sum((1, 2))
    torch.testing.assert_close(rows * columns, pasted.float().sum((1, 2, 3)))
    own = 1 - pasted.float().mean((1, 2, 3))
    torch.testing.assert_close(targets.gather(1, TARGETS[:, None]).squeeze(1), own)
    torch.testing.assert_close(targets.sum(1), torch.ones(64))
    assert len(own.unique()) > 40
    assert 0.5 < own.mean() < 0.9  # 0.5 for whole rectangles; the image's border cuts many


def test_shares_are_drawn_from_beta():
    torch.manual_seed(0)
    own = Mix(2, mixup=0.2)(torch.zeros(4000, 1, 2, 2), torch.arange(4000) % 2)[1].max(1).values
    drawn = torch.distributions.Beta(0.2, 0.2).sample((4000,))
    assert own.mean() == pytest.approx(torch.maximum(drawn, 1 - drawn).mean().item(), abs=0.01)


def test_with_both_each_image_is_mixed_one_way_or_the_other():
    torch.manual_seed(0)
    faces = torch.rand(2000, 1, 8, 8)
    mixed, targets = Mix(7, mixup=5.0, cutmix=1.0)(faces, torch.arange(2000) % 7)
    pasted = ((mixed == faces) | (mixed == other(faces))).flatten(1).all(1)
    assert 0.45 < pasted.float().mean() < 0.55
    torch.testing.assert_close(targets.sum(1), torch.ones(2000))


def test_whole_numbers_are_strengths_too():
    beta.cache_clear()  # of 1 and 1.0 it keeps the first
    for strengths in ({"mixup": 1}, {"cutmix": 1}):
        assert Mix(7, **strengths)(torch.zeros(4, 1, 48, 48), torch.arange(4))[1].shape == (4, 7)
