"""Trained networks that a training begins with: its teachers, or the one whose weights it starts from."""

import hashlib
from pathlib import Path

import numpy as np

from fer_lightning.data.datamodule import FERDataModule
from fer_lightning.errors import UserError
from fer_lightning.models import EmotionClassifier
from fer_lightning.results.checkpoint import Classifier, load
from fer_lightning.results.weights import packaged

PACKAGED = "packaged"  # init_from=packaged: the network that comes with the package


def open_pretrained(key: str, path: str, datamodule: FERDataModule) -> Classifier:
    """The network of a checkpoint file or run folder, in eval mode on the CPU.

    The images that it has learned count as learned in this run's checkpoints, for whatever is scored or begins there.
    key: the setting that names it, for messages. UserError where it cannot be had, or would not be honest.
    """
    file = packaged() if path == PACKAGED else None
    try:
        classifier = load(file or Path(path))
    except UserError as error:
        raise UserError(f"{key}: {error}") from None
    check_held_out(key, path, classifier, datamodule)
    datamodule.learned_before.append(classifier.data["training_digests"])
    return classifier


def check_held_out(key: str, path: str, pretrained: Classifier, datamodule: FERDataModule) -> None:
    """Raise UserError unless the network can have learned none of the images that this run is validated and tested on.

    It has where both were trained on one split. Otherwise its Training images tell, of which it held out others; none
    of them may be held out here. (FER2013's own duplicates across its splits count as well: of another split, nobody
    could tell them from those.)
    """
    mine, theirs = datamodule.state_dict(), pretrained.data
    if mine["split"] == theirs["split"]:
        return
    splits, digests = datamodule.splits, datamodule.faces.digests
    held_out = digests[np.concatenate([splits[name] for name in ("val", "public", "private")])]
    learned = np.isin(held_out, theirs["training_digests"].numpy()).sum()
    if learned:
        raise UserError(
            f"{key}: {path} held out other images (data.val_split={theirs['val_split']}, split seed "
            f"{theirs['split_seed']}) than this run would (data.val_split={mine['val_split']}, split seed "
            f"{mine['split_seed']}): it may have learned {learned:,} of the {len(held_out):,} that this run is scored "
            "on; take the same data, data.val_split and data.split_seed, or other images"
        )


def digest(classifier: Classifier) -> str:
    """64 hexadecimal digits of a network's weights, wherever its file is."""
    found = hashlib.sha256()
    for tensor in classifier.model.state_dict().values():
        found.update(tensor.cpu().numpy().tobytes())
    return found.hexdigest()


def start_from(model: EmotionClassifier, pretrained: Classifier, path: str) -> None:
    """Give `model` the weights of a trained network of its layers; on the meta device only the check.

    UserError where its layers are others. Dropout and what belongs to the loss may differ.
    """
    weights = pretrained.model.state_dict()
    own = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    given = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    if own != given:
        name = next(name for name in {**own, **given} if own.get(name) != given.get(name))
        raise UserError(
            f"init_from: {path} is a {type(pretrained.model).__name__} of other layers than this run's "
            f"{type(model).__name__}: {name} has the shape {given.get(name, 'none')} there, {own.get(name, 'none')} "
            "here; take its model and its sizes"
        )
    if model.device.type != "meta":
        model.load_state_dict(weights)
