"""The recipes of conf/experiment/ choose an augmentation of conf/aug/ and change nothing of it."""

import pytest
from hydra import compose, initialize_config_dir

from fer_lightning.__main__ import CONF
from fer_lightning.settings.hydra_app import register_resolvers

pytestmark = pytest.mark.slow

RECIPES = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))
AUGS = sorted(path.stem for path in (CONF / "aug").glob("*.yaml"))


@pytest.mark.parametrize("recipe", RECIPES)
def test_an_augmentation_chosen_beside_a_recipe_is_that_one(composed, recipe):
    strong = composed("aug=strong").aug
    assert (
        composed(f"experiment={recipe}", "aug=strong").aug
        == composed("aug=strong", f"experiment={recipe}").aug
        == strong
    )


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipes_augmentation_has_the_name_of_its_choice(recipe):
    """The folder of a sweep's job is named after the choice, its rows and curves after `aug.name`."""
    register_resolvers()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("config", [f"experiment={recipe}"], return_hydra_config=True)
    assert cfg.hydra.runtime.choices.aug == cfg.aug.name


@pytest.mark.parametrize("aug", AUGS)
def test_an_augmentation_is_named_after_its_file(composed, aug):
    assert composed(f"aug={aug}").aug.name == aug


def test_the_published_transforms_have_the_strengths_of_norm_aug(composed):
    published, warp = composed("aug=published").aug, composed("aug=norm_aug").aug
    assert published.image_by_image
    assert not warp.image_by_image
    assert {key for key in warp if published[key] != warp[key]} == {"name", "image_by_image"}
