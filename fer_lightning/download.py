"""FER2013 from Kaggle, into data/: python -m fer_lightning.download [--from csv|images|competition] [--to DIR]

Kaggle can't be reached where this is developed: what stands around the download is tested with a module in kagglehub's
place, the download itself is not.
"""

import os
import shlex
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from fer_lightning.errors import OF_THE_DISK, Failure, UserError, command_parser, run_command, told
from fer_lightning.results.files import naming
from fer_lightning.results.lock import FolderLock
from fer_lightning.results.paths import expanded, override

if TYPE_CHECKING:
    from fer_lightning.data.faces import Faces

DESCRIPTION = """\
Download FER2013 from Kaggle with kagglehub (pip install -e '.[data]'), compare the images of each split
and class with those of FER2013, and put them into DIR/fer2013/, where a run finds them. Where DIR holds
FER2013 already, that is compared and nothing is downloaded. What is there is never changed.
Exit status: 0 it is there; 1 it did not come; 2 a mistake, such as credentials that Kaggle refuses."""


class Source(NamedTuple):
    """A place on Kaggle. file: the only one that is wanted of it; None: all."""

    kind: str
    name: str
    file: str | None
    what: str

    @property
    def url(self) -> str:
        return f"https://www.kaggle.com/{self.kind}/{self.name}"


SOURCES = {
    "csv": Source("datasets", "deadskull7/fer2013", "fer2013.csv", "the original pixels, for anybody"),
    "images": Source("datasets", "msambare/fer2013", None, "jpg files, whose pixels differ a little"),
    "competition": Source(
        "competitions",
        "challenges-in-representation-learning-facial-expression-recognition-challenge",
        "icml_face_data.csv",
        "the original pixels, for an account that has accepted its rules",
    ),
}
COUNTS = {  # images of each class, in the order of CLASSES
    "Training": (3995, 436, 4097, 7215, 4830, 3171, 4965),
    "PublicTest": (467, 56, 496, 895, 653, 415, 607),
    "PrivateTest": (491, 55, 528, 879, 594, 416, 626),
}
# Of the pixels, labels and splits of Training and PublicTest of the competition's file, see `faces.fingerprint`
FINGERPRINT = "ca957b0dd81ad891"


def main() -> None:
    """The command: exit status 0 there, 1 failed, 2 a mistake, 130 interrupted."""
    parser = command_parser("download", DESCRIPTION)
    choices = "; ".join(f"{name}: {each.name}, {each.what}" for name, each in SOURCES.items())
    parser.add_argument("--from", dest="source", choices=SOURCES, default="csv", help=f"{choices} (default: csv)")
    parser.add_argument("--to", metavar="DIR", type=expanded, default="data", help="default: data")

    def work() -> None:
        arguments = parser.parse_args()
        download(SOURCES[arguments.source], arguments.to)

    run_command(work)


def download(source: Source, to: Path) -> None:
    """Put FER2013 into the folder `to`/fer2013, unless `to` holds it; print what there is and the next command.

    UserError where `to` holds something else or Kaggle refuses the user, Failure where the download did not succeed.
    """
    from fer_lightning.data import fer2013

    if fer2013.holds(to):
        faces = fer2013.load(to)
        if wrong := differences(faces):
            raise UserError(
                f"{to}: it holds other images already, {faces.form}; nothing was downloaded; --to DIR names another "
                f"folder. {wrong}"
            )
        print(f"{to} holds FER2013 already; nothing was downloaded")
    else:
        place = to / "fer2013"
        if os.path.lexists(place):
            raise UserError(
                f"{place}: it is there, and holds no FER2013; move it away, or name another folder: --to DIR"
            )
        part, new = to / ".fer2013.part", not to.exists()
        with naming(part):
            part.mkdir(parents=True, exist_ok=True)
        with FolderLock(part):
            try:
                fetch(source, part / "files")
                (part / "files").rename(place)
            finally:
                shutil.rmtree(part, ignore_errors=True)
                if new and not os.listdir(to):
                    to.rmdir()
        try:
            faces = fer2013.load(place)  # kept in the cache, for the first run
            if wrong := differences(faces):
                raise Failure(wrong)
        except UserError as error:
            shutil.rmtree(place)
            raise Failure(f"what came from {source.url} is not FER2013, and was removed: {error}") from None
    print(f"{faces.source}: {described(faces)}\nnext: {next_command(to)}")


def differences(faces: "Faces") -> str | None:
    """In which splits, and classes of them, there are not as many images as in FER2013."""
    import numpy as np

    from fer_lightning.data.faces import CLASSES, USAGES

    found = []
    for usage, wanted in COUNTS.items():
        counts = np.bincount(faces.labels[faces.where(USAGES.index(usage))], minlength=len(CLASSES)).tolist()
        if sum(counts) != sum(wanted):
            found.append(f"{usage}: {sum(counts):,} images, FER2013 has {sum(wanted):,}")
        else:
            each = zip(CLASSES, counts, wanted, strict=True)
            found += [
                f"{usage}: {count:,} of {name}, FER2013 has {right:,}" for name, count, right in each if count != right
            ]
    return "; ".join(found) or None


def described(faces: "Faces") -> str:
    """What was compared, of faces without `differences`."""
    import numpy as np

    from fer_lightning.data.faces import PRIVATE, fingerprint

    same = fingerprint(faces, np.flatnonzero(faces.usage != PRIVATE)) == FINGERPRINT
    pixels = "the pixels are" if same else "the pixels are not exactly"
    splits = ", ".join(f"{sum(counts):,} {usage}" for usage, counts in COUNTS.items())
    return f"{splits}, and of each class as many as in FER2013; {pixels} those that docs/results.md was measured on"


def next_command(to: Path) -> str:
    """A run on what is in `to`: its place is named where it is not the one that a run looks in by itself."""
    found_there = to.absolute() == Path("data").absolute() and not os.environ.get("FER2013_ROOT")
    return f"python -m fer_lightning model=dnn{'' if found_there else ' ' + shlex.quote(override('data.root', to))}"


def fetch(source: Source, folder: Path) -> None:
    """Download a source into `folder`, anew. UserError or Failure, saying what remains to be done."""
    try:
        import kagglehub
    except ImportError:
        raise UserError(f"kagglehub is not installed: pip install -e '.[data]'{otherwise(source)}") from None
    get = kagglehub.dataset_download if source.kind == "datasets" else kagglehub.competition_download
    print(f"downloading {source.url} …", flush=True)
    shutil.rmtree(folder, ignore_errors=True)  # a part, of a process that was killed
    folder.mkdir()
    try:
        came = Path(get(source.name, source.file, output_dir=str(folder)))
        if folder not in (came, *came.parents):  # on Kaggle and Colab, what it has there already
            if came.is_dir():
                shutil.copytree(came, folder, dirs_exist_ok=True)
            else:
                shutil.copy(came, folder)
    except Exception as error:  # also its own: BackendError, DataCorruptionError and so on
        raise failed(error, source, folder) from None
    shutil.rmtree(folder / ".complete", ignore_errors=True)  # its mark


def failed(error: Exception, source: Source, folder: Path) -> UserError:
    """What a user is told of an exception of kagglehub, whose words say the most."""
    if isinstance(error, OSError) and error.errno in OF_THE_DISK:
        return told(error, folder)  # type: ignore[return-value]
    status = getattr(getattr(error, "response", None), "status_code", None)
    refused = type(error).__name__ == "UnauthenticatedError" or "credentials" in str(error) or status in (401, 403)
    why = ": ".join(part for part in (type(error).__name__, " ".join(str(error).split())) if part)
    rules = f", for an account that has accepted {source.url}/rules" if source.kind == "competitions" else ""
    return (UserError if refused else Failure)(
        f"{source.url} did not come ({why}). It wants a network, and a token of https://www.kaggle.com/settings/api in "
        f"the environment variable KAGGLE_API_TOKEN or the file ~/.kaggle/access_token{rules}{otherwise(source)}"
    )


def otherwise(source: Source) -> str:
    """The other ways, for the end of a message."""
    others = " or ".join(f"--from {name}" for name, each in SOURCES.items() if each is not source)
    return f". Otherwise: {others}; or by hand, {source.url} unpacked into data/"


if __name__ == "__main__":
    main()
