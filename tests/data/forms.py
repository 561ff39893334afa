"""Faces written in the forms that users have."""

from pathlib import Path

import numpy as np
from audit.test_search import faces_of
from PIL import Image

from fer_lightning.data.faces import CLASSES, PUBLIC, TRAINING, USAGES, Faces


def random_faces(count: int, seed: int = 0) -> Faces:
    """Noise with labels of all classes and usages, ordered by usage as in the public file."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (count, 48, 48)).astype(np.uint8)
    pixels[0], pixels[1] = 0, 255  # the ends of the range, and the shortest and longest rows
    labels = (np.arange(count) % len(CLASSES)).astype(np.int8)
    usage = np.sort(np.arange(count) % 3).astype(np.uint8)
    return faces_of(pixels, labels, usage)


def text(image: np.ndarray) -> str:
    return " ".join(map(str, image.reshape(-1).tolist()))


def write_csv(path: Path, header: str, rows: list[str], end: str = "\n") -> Path:
    path.write_bytes("".join(line + end for line in [header, *rows]).encode())
    return path


def lines(faces: Faces, where: np.ndarray, form: str) -> list[str]:
    """Rows such as "{label},{pixels}", with {usage} and, from 100 on, {number} too."""
    return [
        form.format(label=faces.labels[i], pixels=text(faces.pixels[i]), usage=USAGES[faces.usage[i]], number=number)
        for number, i in enumerate(where, 100)
    ]


def fer2013_rows(faces: Faces) -> list[str]:
    return lines(faces, np.arange(len(faces)), "{label},{pixels},{usage}")


def as_fer2013(root: Path, faces: Faces) -> Path:
    return write_csv(root / "fer2013.csv", "emotion,pixels,Usage", fer2013_rows(faces))


def as_icml(root: Path, faces: Faces) -> Path:
    rows = lines(faces, np.arange(len(faces)), "{label}, {usage}, {pixels}")
    return write_csv(root / "icml_face_data.csv", "emotion, Usage, pixels", rows)


def as_kaggle(root: Path, faces: Faces) -> Path:
    write_csv(root / "train.csv", "emotion,pixels", lines(faces, faces.where(TRAINING), "{label},{pixels}"))
    write_csv(root / "test.csv", "pixels", lines(faces, faces.where(PUBLIC), "{pixels}"))
    return root


def as_course(root: Path, faces: Faces) -> Path:
    write_csv(root / "train.csv", "label,feature", lines(faces, faces.where(TRAINING), "{label},{pixels}"))
    write_csv(root / "test.csv", "id,feature", lines(faces, faces.where(PUBLIC), "{number},{pixels}"))
    return root


def as_npz(root: Path, faces: Faces) -> Path:
    usage = np.array([USAGES[code] for code in faces.usage])
    np.savez(root / "fer2013.npz", pixels=faces.pixels, emotion=faces.labels.astype(np.uint8), usage=usage)
    return root / "fer2013.npz"


def as_folders(root: Path, faces: Faces) -> Path:
    for i, (image, label, usage) in enumerate(zip(faces.pixels, faces.labels, faces.usage, strict=True)):
        folder = root / ("train" if usage == TRAINING else "test") / CLASSES[label]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{USAGES[usage]}_{i:05d}.png")
    return root
