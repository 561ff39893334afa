"""From pictures to answers: the seven probabilities of each of their faces."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from fer_lightning.data.faces import CLASSES
from fer_lightning.errors import UserError
from fer_lightning.photographs.faces import Face
from fer_lightning.photographs.pictures import read_picture
from fer_lightning.results import calibration, weights
from fer_lightning.results.calibration import Calibration, at_temperature
from fer_lightning.results.members import Member, choose_device, open_member, packaged_network

BATCH = 64  # crops that the network sees at once
HELD = 1 << 28  # bytes of pictures that wait for it


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
    member = open_member(packaged_network() if run is None else run)
    fitted = calibration.of(member.checkpoint)
    member.classifier.model.to(choose_device(member))
    return Network(member, fitted if unsure is None else fitted.at(unsure))


@dataclass(frozen=True)
class Seen:
    """A picture uint8 (H, W, 3), its faces and their probabilities float64 (N, 7); or why there is none."""

    path: Path
    picture: np.ndarray = field(default_factory=lambda: np.empty((0, 0, 3), np.uint8))
    faces: list[Face] = field(default_factory=list)
    probabilities: np.ndarray = field(default_factory=lambda: np.empty((0, len(CLASSES))))
    fault: str | None = None


def see(paths: Iterable[Path], find: Callable[[Path, np.ndarray], list[Face]], network: Network) -> Iterator[Seen]:
    """The answers for each picture, in order; the network sees faces of several pictures at once.

    find: the faces of a picture. A UserError of its, as of an unreadable picture, becomes a `fault`.
    """
    waiting: list[Seen] = []
    crops: list[np.ndarray] = []
    held = 0
    for path in paths:
        try:
            picture = read_picture(path)
            faces = find(path, picture)
            if network.member.classifier.aligned:
                faces = [face.settled() if face.rough else face for face in faces]
            seen = Seen(path, picture, faces)
            crops += [face.variants() for face in seen.faces]
        except UserError as error:
            seen = Seen(path, fault=str(error))
        waiting.append(seen)
        held += seen.picture.nbytes
        if sum(map(len, crops)) >= BATCH or held >= HELD:
            yield from _answered(waiting, crops, network)
            waiting, crops, held = [], [], 0
    yield from _answered(waiting, crops, network)


def _answered(waiting: list[Seen], crops: list[np.ndarray], network: Network) -> list[Seen]:
    if not crops:
        return waiting
    probabilities = network.probabilities(np.stack(crops))
    ends = np.cumsum([len(seen.faces) for seen in waiting])[:-1]
    return [replace(seen, probabilities=own) for seen, own in zip(waiting, np.split(probabilities, ends), strict=True)]
