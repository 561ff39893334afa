"""Distillation: from whom, on what pixels, with which loss; and that nothing of a teacher stays."""

import pandas as pd
import pytest
import torch
from commands import QUICK, SMALL
from torch import nn

from fer_lightning.data.augment import Normalize
from fer_lightning.models import DNN
from fer_lightning.results.checkpoint import Classifier, load
from fer_lightning.training.distillation import Teachers

RUN = (*SMALL["dnn"], *QUICK, "logger=none")


def test_teachers_say_the_mean_of_their_probabilities_of_their_own_pixels():
    torch.manual_seed(0)
    models = [DNN(widths=(8, 8)).eval(), DNN(widths=(4, 8)).eval()]
    pixels = torch.rand(5, 1, 48, 48)
    own = [Normalize(0.5, 0.25), Normalize()]
    classifiers = [Classifier(model, normalize, {}) for model, normalize in zip(models, own, strict=True)]
    teachers = Teachers(classifiers, mean=0.5, std=0.25, temperature=3.0)
    expected = sum((m(n(pixels)) / 3).softmax(1) for m, n in zip(models, own, strict=True)) / 2
    said = teachers.probabilities((pixels - 0.5) / 0.25)
    torch.testing.assert_close(said, expected, atol=1e-5, rtol=1e-5)
    assert not said.requires_grad
    assert not any(parameter.requires_grad for parameter in models[0].parameters())


def test_asked_once_they_say_the_same_of_the_images_as_they_are():
    torch.manual_seed(0)
    models = [DNN(widths=(8, 8)).eval(), DNN(widths=(4, 8)).eval()]
    with torch.no_grad():
        models[0].fc3.bias[0] += 300  # whose probabilities of the other classes are 0 in float32
    pixels = torch.randint(0, 256, (5, 48, 48), dtype=torch.uint8)
    teachers = Teachers([Classifier(model, Normalize(0.5, 0.25), {}) for model in models], 0.5, 0.25, temperature=3.0)
    said = teachers.soft_targets(pixels.numpy(), "32-true")
    expected = teachers.probabilities((pixels.unsqueeze(1) / 255 - 0.5) / 0.25)
    torch.testing.assert_close(torch.from_numpy(said), expected, atol=1e-5, rtol=1e-5)


def test_the_loss_is_hintons(monkeypatch):
    torch.manual_seed(0)
    student = DNN(widths=(8, 8), label_smoothing=0.1).eval()
    faces, targets = torch.rand(6, 1, 48, 48), torch.tensor([0, 1, 2, 3, 6, 6])
    soft_targets = torch.rand(6, 7).softmax(1)
    asked = []
    student.distill_from(lambda x: asked.append(x) or soft_targets, weight=0.3, temperature=2.0)
    logits = student(faces)
    hard = nn.CrossEntropyLoss(label_smoothing=0.1)(logits, targets)
    soft = (soft_targets * (soft_targets.log() - (logits / 2).log_softmax(1))).sum(1).mean()
    torch.testing.assert_close(student.training_step((faces, targets), 0), 0.7 * hard + 0.3 * 4 * soft)
    assert asked[0] is faces
    student.distill_from(None, weight=0.3, temperature=2.0)
    torch.testing.assert_close(student.training_step((faces, targets, soft_targets), 0), 0.7 * hard + 0.3 * 4 * soft)
    plain = nn.CrossEntropyLoss()(logits, targets)
    student.validation_step((faces, targets), 0)
    torch.testing.assert_close(student.means["val/"].compute()["loss"], plain.detach())
    torch.testing.assert_close(student.means["train/"].compute()["cross_entropy"], plain.detach())


@pytest.fixture
def teachers(trained):
    for seed in (1, 2):
        trained(f"teacher{seed}", *RUN, "data.split_seed=0", f"seed={seed}")
    return ["distill.teachers=[teacher1,teacher2/checkpoints/best.ckpt]", "distill.weight=0.9"]


@pytest.mark.slow
def test_a_student_hears_its_teachers_and_keeps_nothing_of_them(cli, trained, tmp_path, teachers):
    trained("plain", *RUN)
    ended = cli(*RUN, *teachers, "hydra.run.dir=student")
    assert ended.status == 0, ended.err
    plain, student = (pd.read_csv(tmp_path / name / "metrics.csv") for name in ("plain", "student"))
    assert plain["train_loss"].iloc[0] != student["train_loss"].iloc[0]
    first, second = (
        torch.load(tmp_path / name / "checkpoints" / "last.ckpt", weights_only=True) for name in ("plain", "student")
    )
    assert set(first) == set(second)
    assert set(first["state_dict"]) == set(second["state_dict"])
    assert first["hyper_parameters"] == second["hyper_parameters"]
    assert len(first["optimizer_states"][0]["state"]) == len(second["optimizer_states"][0]["state"])
    assert load(tmp_path / "student").model.teacher_probabilities is None


@pytest.mark.slow
def test_teachers_asked_once_are_heard_of_each_image(cli, tmp_path, teachers):
    """Without augmentation the pixels of each step are the images as they are, so it is the same training.

    But for the order of the teachers' sums (batches of another size), which may turn an image between two classes.
    """
    for name in ("false", "true"):
        ended = cli(
            *RUN,
            *teachers,
            "aug=norm",
            "trainer.precision=32-true",
            f"distill.once={name}",
            f"hydra.run.dir=once-{name}",
        )
        assert ended.status == 0, ended.err
        assert ("the teachers were asked" in ended.out) == (name == "true")
    each, once = (pd.read_csv(tmp_path / f"once-{name}" / "metrics.csv") for name in ("false", "true"))
    accuracies = ["train_acc", "val_acc"]
    pd.testing.assert_frame_equal(each[accuracies], once[accuracies], rtol=0, atol=0.01)
    others = each.columns.drop(["seconds", *accuracies])
    pd.testing.assert_frame_equal(each[others], once[others], rtol=1e-3)


@pytest.mark.slow
def test_a_student_begins_with_the_weights_it_would_have_without(cli, trained, tmp_path, teachers):
    """The loss of a first step with weight 0 is the loss without teachers, dropout and augmentation included."""
    trained("plain", *RUN)
    assert cli(*RUN, *teachers, "distill.weight=0", "hydra.run.dir=student").status == 0
    plain, student = (pd.read_csv(tmp_path / name / "metrics.csv") for name in ("plain", "student"))
    pd.testing.assert_frame_equal(plain.drop(columns="seconds"), student.drop(columns="seconds"), rtol=1e-5)


@pytest.mark.slow
def test_a_teacher_that_learned_the_validation_images_is_refused(cli, tmp_path, teachers):
    for wrong in (("seed=1",), ("data.split_seed=3",), ("data.val_split=0.2",), ("data.val_split=public",)):
        ended = cli(*RUN, *teachers, *wrong, "hydra.run.dir=student")
        assert ended.status == 2, wrong
        assert "teacher1 held out other images" in ended.err
        assert not (tmp_path / "student").exists()
