"""How the readers word what is wrong with a source: every fault counted, the first ten listed with their places."""

from collections.abc import Sequence

from fer_lightning.data.faces import CLASSES, UNLABELLED, USAGES
from fer_lightning.errors import UserError

LISTED = 10
LABELS = ", ".join(f"{label} ({name})" for label, name in enumerate(CLASSES))
SPLITS = ", ".join(USAGES[:UNLABELLED])


def faulty(path: object, faults: Sequence[str], total: int, unit: str, count: int | None = None) -> UserError:
    """The error for `faults` (one string per faulty row or picture, its place first) among `total` ones of `path`.

    count: how many are faulty, where `faults` has the first LISTED of them alone.
    """
    count = count or len(faults)
    first = f", the first {LISTED}" if count > LISTED else ""
    head = f"{path}: {count:,} of {total:,} {unit} {'is' if count == 1 else 'are'} faulty{first}:"
    return UserError("\n  ".join([head, *faults[:LISTED]]))


def shown(value: bytes | str) -> str:
    """A piece of the file in quotes, cut to a length that fits into a message."""
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
    return repr(text if len(text) <= 60 else text[:57] + "...")


def in_a_line(reason: object) -> str:
    """What a library says of a file, at times in many lines and with all that is in the file, or not at all."""
    words = " ".join(str(reason).split()) or type(reason).__name__
    return words if len(words) <= 500 else f"{words[:497]}..."
