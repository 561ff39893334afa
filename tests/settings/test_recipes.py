"""What the files of conf/ choose: each augmentation and recipe can be run, and a recipe leaves augmentations alone."""

import pytest
import torch

from fer_lightning.__main__ import CONF
from fer_lightning.data import synthetic
from fer_lightning.data.datamodule import FERDataModule
from fer_lightning.models import CNN, DNN
from fer_lightning.settings.build import FER2013_BATCH, FER2013_EPOCHS, build, resolve
from fer_lightning.settings.hydra_app import check

HERE = ("data=synthetic", "trainer=cpu")


@pytest.mark.slow
@pytest.mark.parametrize("recipe", sorted(path.stem for path in (CONF / "experiment").glob("*.yaml")))
def test_a_recipe_can_be_run_and_chooses_an_augmentation_without_changing_it(composed, recipe):
    """The folder of a sweep's job is named after the choice, its rows and curves after `aug.name`."""
    cfg = composed(f"experiment={recipe}", *HERE, hydra=True)
    check(cfg)
    assert cfg.hydra.runtime.choices.aug == cfg.aug.name
    assert composed(f"experiment={recipe}", "aug=strong").aug == composed("aug=strong").aug


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides",
    [
        *([f"model={path.stem}"] for path in (CONF / "model").glob("*.yaml")),
        [
            "trainer.precision=bf16-mixed",
            "optimizer.fused=false",
            "+trainer.gradient_clip_val=1",
        ],  # what a message says
    ],
)
def test_every_network_and_clipped_gradients_can_be_run(composed, overrides):
    check(composed(*overrides, *HERE, hydra=True))


@pytest.mark.slow
@pytest.mark.parametrize("aug", sorted(path.stem for path in (CONF / "aug").glob("*.yaml")))
def test_an_augmentation_makes_faces_and_is_named_after_its_file(composed, few_faces, aug):
    settings = resolve(composed(f"aug={aug}", *HERE))
    assert settings.aug.name == aug
    faces = build(settings, few_faces, "meta").datamodule.train_faces(torch.from_numpy(few_faces.pixels[:8]))
    assert faces.shape == (8, 1, 48, 48)
    assert faces.isfinite().all()


def test_a_recipe_changes_what_the_main_file_says_and_the_command_line_both(composed):
    assert composed("experiment=best_dnn").distill.once is True
    assert composed("experiment=best_dnn").distill.temperature == composed().distill.temperature
    assert composed("experiment=best_dnn", "distill.once=false").distill.once is False


@pytest.mark.parametrize(("model", "network"), [("cnn", CNN), ("dnn", DNN)])
def test_the_defaults_of_conf_and_of_constructors_are_the_published_recipes(composed, model, network):
    published, default = composed(f"experiment=published_{model}"), composed(f"model={model}")
    values, defaults = resolve(default).model.arguments, network().hparams
    assert {key: list(v) if isinstance(v := defaults[key], tuple) else v for key in values} == values
    assert default.trainer.max_epochs == "auto"
    default.trainer.max_epochs = FER2013_EPOCHS
    assert published == default
    assert FERDataModule(synthetic.draw(train=300, test=50)).batch_size == FER2013_BATCH
