"""Reads what would fill the memory, hang, or may not be read: of each, how it ended and what it cost."""

import os
import resource
import shutil
import tempfile
import time
import zipfile
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
from faults.hostile import ALL, GRAY, MEMBERS, SHEETS, archive, encoded, lying_npy, npy, outcome, png, write_picture

from fer_lightning.data import fer2013

HEADER = b"emotion,pixels,Usage\n"
SHEET = SHEETS["fer2013"][0]


def sparse(path: Path, content: bytes, gigabytes: int = 100) -> Path:
    """A file that takes no place on the disk: `content`, then NULs."""
    with open(path, "wb") as file:
        file.write(content)
        file.truncate(gigabytes << 30)
    return path


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def picture(root: Path, content: bytes, gigabytes: int = 0) -> Path:
    write_picture(root, content)
    if gigabytes:
        sparse(root / "train/happy/a.png", content, gigabytes)
    return root


def packed_zeros(path: Path, count: int, usage: str) -> Path:
    """An npz of so many images of zeros, packed to a thousandth."""
    others = {"emotion.npy": npy(np.zeros(count, np.uint8)), "usage.npy": npy(np.full(count, usage))}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as made:
        for name, content in others.items():
            made.writestr(name, content)
        with made.open("pixels.npy", "w", force_zip64=True) as member:
            member.write(lying_npy("'|u1'", f"({count},48,48)"))
            for _ in range(count):
                member.write(bytes(2304))
    return path


def closed(root: Path, path: str = ".") -> Path:
    """`root`, in which `path` may not be read by this process, from now on not root's."""
    (root / path).chmod(0)
    if os.getuid() == 0:
        os.seteuid(65534)
    return root


def data_cases(root: Path) -> dict[str, Callable[[], Path]]:
    ids = b"".join(b"%s,%s\n" % (b"x" * 100_000, SHEETS["pixels"][0].split(b"\n")[1]) for _ in range(100))
    no_spaces = SHEET.replace(b" ", b"\t").split(b"\n", 1)[1]
    part = encoded(GRAY)[:33] + b"\x7f\xff\xff\xffabCd"  # of 2 GB
    cases = {
        "NULs without end": lambda: sparse(root / "fer2013.csv", b""),
        "a header, NULs without end": lambda: sparse(root / "a.csv", HEADER),
        "rows, NULs without end": lambda: sparse(root / "b.csv", SHEET),
        "millions of bad rows": lambda: write(root / "c.csv", HEADER + b"1\n" * 30_000_000),
        "thousands of rows with tabs": lambda: write(root / "d.csv", HEADER + no_spaces * 3000),
        "long ids": lambda: write(root / "e.csv", b"id,feature\n" + ids),
        "a picture, NULs without end": lambda: picture(root / "p1", encoded(GRAY), 100),
        "a part of a png without end": lambda: picture(root / "p2", part, 3),
        "169 million pixels declared": lambda: picture(root / "p3", png(13_000, 13_000, 8, 6)),
        "a zip, NULs without end": lambda: sparse(root / "a.npz", archive(MEMBERS)),
        "terabytes declared": lambda: write(
            root / "b.npz", archive(MEMBERS | {"pixels.npy": lying_npy("'|u1'", "(999999999,48,48)")})
        ),
        "a closed csv": lambda: closed(write(root / "closed.csv", SHEET)),
        "a closed npz": lambda: closed(write(root / "closed.npz", archive(MEMBERS))),
        "a closed folder": lambda: closed(picture(root / "p4", encoded(GRAY))),
        "a closed class": lambda: closed(picture(root / "p5", encoded(GRAY)), "train/happy"),
        "a closed picture": lambda: closed(picture(root / "p6", encoded(GRAY)), "train/happy/a.png"),
        "a closed fer2013.csv beside": lambda: closed(
            write(picture(root / "p7", encoded(GRAY)) / "fer2013.csv", SHEET).parent, "fer2013.csv"
        ),
    }
    if ALL:
        cases["1,400,000 bad images"] = lambda: packed_zeros(root / "c.npz", 1_400_000, "x")
        cases["a bomb of 3 GB"] = lambda: packed_zeros(root / "d.npz", 1_400_000, "Training")
        cases["180 million pixels"] = lambda: picture(root / "p8", png(13_500, 13_500, 8, 0, bytes(13_500 * 13_501)))
    return cases


def read_cases(root: Path) -> dict[str, Callable[[], Path]]:
    lost = root / "disk/lost+found"
    lost.mkdir(parents=True)
    cases = {
        "lost+found beside": lambda: closed(picture(root / "disk/fer2013", encoded(GRAY)).parent, "lost+found"),
        "a closed file beside": lambda: closed(
            write(picture(root / "p9", encoded(GRAY)) / "secret.csv", SHEET).parent, "secret.csv"
        ),
    }
    if ALL:
        large = png(13_000, 13_000, 8, 0, bytes(13_000 * 13_001))
        cases["170 million pixels"] = lambda: picture(root / "p10", large)
    return cases


def checkpoint_cases(root: Path) -> dict[str, Callable[[], Path]]:
    header = (99_000_000).to_bytes(8, "little") + b"{}" + b" " * 98_999_998
    cases = {
        "a ckpt of NULs": lambda: sparse(root / "a.ckpt", b""),
        "a ckpt of a zip and NULs": lambda: sparse(root / "b.ckpt", archive({"a/data.pkl": b""})),
        "safetensors of NULs": lambda: sparse(root / "a.safetensors", b""),
        "safetensors, then NULs": lambda: sparse(root / "b.safetensors", b"\2" + bytes(7) + b"{}"),
        "safetensors with a header of 99 MB": lambda: write(root / "c.safetensors", header),
        "a closed ckpt": lambda: closed(write(root / "closed.ckpt", b"PK")),
        "a closed safetensors": lambda: closed(write(root / "closed.safetensors", b"PK")),
        "a ckpt in a closed folder": lambda: closed(picture(root / "p11", b"")) / "train/happy",
    }
    if ALL:
        cases["a ckpt that unpacks to 3 GB"] = lambda: write(
            root / "c.ckpt", archive({"a/data.pkl": bytes(3 << 30)}, zipfile.ZIP_DEFLATED)
        )
    return cases


def main(output: Connection) -> None:
    """Sends a list of the cases: name, how it is to end, how it ended, seconds, gigabytes of memory at the most."""
    ended_as: list[tuple[str, str, str, float, float]] = []
    root = Path(tempfile.mkdtemp())
    root.chmod(0o755)
    os.environ["FER_LIGHTNING_CACHE"] = str(root / "cache")

    def run(cases: dict[str, Callable[[], Path]], right: str, read: Callable[[Path], object]) -> None:
        for name, make in cases.items():
            path = make()
            began = time.perf_counter()
            try:
                ended = "refused" if outcome(path, read) is None else "read"
            except BaseException as error:
                ended = repr(error)
            seconds = time.perf_counter() - began
            os.seteuid(os.getuid())
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20)
            ended_as.append((name, right, ended, seconds, peak))

    try:
        run(data_cases(root), "refused", fer2013.load)
        run(read_cases(root), "read", fer2013.load)
        from fer_lightning.results.checkpoint import load

        run(checkpoint_cases(root), "refused", load)
    finally:
        shutil.rmtree(root)
    output.send(ended_as)
