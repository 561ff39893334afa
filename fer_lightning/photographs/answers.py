"""From pictures to answers: the seven probabilities of each of their faces."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fer_lightning.data.faces import CLASSES
from fer_lightning.photographs.faces import Face
from fer_lightning.photographs.pictures import read_picture
from fer_lightning.results import calibration, weights
from fer_lightning.results.calibration import Calibration, at_temperature
from fer_lightning.results.members import Member, choose_device, open_member


@dataclass(frozen=True)
class Network:
    """A trained network with what its probabilities mean."""

    member: Member
    calibration: Calibration

    @property
    def synthetic(self) -> bool:
        return self.member.data["synthetic"]

    def probabilities(self, crops: np.ndarray) -> np.ndarray:
        """float64 (N, 7) of uint8 (N, V, 48, 48): the mean over a face's V crops, each at the fitted temperature."""
        flat = self.member.classifier.probabilities(crops.reshape(-1, *crops.shape[2:]), self.member.precision)
        return at_temperature(flat, self.calibration.temperature).reshape(*crops.shape[:2], -1).mean(1)

    @property
    def name(self) -> str:
        packaged = self.member.checkpoint == weights.packaged()
        where = "that comes with the package" if packaged else f"of {self.member.name}"
        trained = ", trained on SYNTHETIC FACES: what it says of real ones means nothing" if self.synthetic else ""
        return f"the {type(self.member.classifier.model).__name__} {where}{trained}"

    def __str__(self) -> str:
        """What is said once with its answers."""
        return f"{self.name}; {self.calibration}"


def open_network(run: str | None, unsure: float | None = None) -> Network:
    """The network of a run, of a checkpoint or of the package (None), on its device. UserError where there is none.

    unsure: another threshold than the calibration's.
    """
    member = open_member(run)
    fitted = calibration.of(member.checkpoint)
    member.classifier.model.to(choose_device(member))
    return Network(member, fitted if unsure is None else fitted.at(unsure))


@dataclass(frozen=True)
class Seen:
    """A picture uint8 (H, W, 3), its faces and their probabilities float64 (N, 7)."""

    path: Path
    picture: np.ndarray
    faces: list[Face]
    probabilities: np.ndarray


def see(path: Path, find: Callable[[Path, np.ndarray], list[Face]], network: Network) -> Seen:
    """The answers for a picture. find: its faces. UserError of `find`, and where the picture cannot be read."""
    picture = read_picture(path)
    faces = find(path, picture)
    if network.member.classifier.aligned:
        faces = [face.settled() if face.rough else face for face in faces]
    crops = [face.variants() for face in faces]
    return Seen(path, picture, faces, network.probabilities(np.stack(crops)) if crops else np.empty((0, len(CLASSES))))
