"""What may be scored on which images: splits that say something of every network, and reasons where they do not."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fer_lightning.data.faces import PRIVATE, PUBLIC, TRAINING, USAGES, Faces, fingerprint
from fer_lightning.data.splits import Splits, make_splits
from fer_lightning.errors import UserError
from fer_lightning.evaluate.members import Member

TEST_USAGE = {"public": PUBLIC, "private": PRIVATE}


@dataclass(frozen=True)
class Chosen:
    """The positions of the images of each split that is scored, and of each that is also fair to --compare.

    notes: what of all that a reader must know, a sentence each.
    """

    scored: Splits
    compared: Splits
    notes: list[str]


def choose(faces: Faces, members: Sequence[Member], others: Sequence[Member], split: str) -> Chosen:
    """What `members` are scored on, of --split, and compared to `others` on, of whom there may be none.

    UserError where the split asked for, or all of them, cannot be scored, or where none of them is fair to both sides.
    """
    splits, refused = scorable(faces, members)
    if split != "all" and split in refused:
        raise UserError(f"--split {split}: {refused[split]}")
    if not splits:
        raise UserError("\n  ".join(["nothing can be scored:", *(f"{name}: {refused[name]}" for name in refused)]))
    scored = {name: where for name, where in splits.items() if split in ("all", name)}
    notes = [f"{name} is not scored: {reason}" for name, reason in refused.items() if split == "all"]
    compared: Splits = {}
    if others:
        _, unfair = scorable(faces, [*members, *others])
        compared = {name: where for name, where in scored.items() if name not in unfair}
        reasons = [f"{name} is not compared: {unfair[name]}" for name in scored if name in unfair]
        if not compared:
            told = [f"--compare {others[0].name} --split {split}: no split is fair to both", *reasons]
            raise UserError("\n  ".join(told))
        notes += reasons
    notes += [mismatch(member, faces) for member in (*members, *others) if member.data["synthetic"] != faces.synthetic]
    return Chosen(scored, compared, notes)


def scorable(faces: Faces, members: Sequence[Member]) -> tuple[Splits, dict[str, str]]:
    """The positions of each split of SCORED that says something of all members, and why the others do not."""
    splits: Splits = {}
    refused: dict[str, str] = {}
    try:
        splits["val"] = validation_split(faces, members)
    except UserError as error:
        refused["val"] = str(error)
    for name, usage in TEST_USAGE.items():
        chosen_on = [member for member in members if usage == PUBLIC and member.data["val_split"] == "public"]
        if chosen_on:
            refused[name] = (
                f"{chosen_on[0].name} was trained with data.val_split=public: its checkpoint was chosen on PublicTest, "
                "so that is its validation split and no test"
            )
        elif not (faces.usage == usage).any():
            refused[name] = f"{faces.source} has no {USAGES[usage]} images"
        else:
            splits[name] = faces.where(usage)
    return splits, refused


def validation_split(faces: Faces, members: Sequence[Member]) -> np.ndarray:
    """The positions of the images that every member was validated on, int (N,).

    UserError where `faces` holds no such split, or where it would have images that a member was trained on.
    """
    first = members[0]
    val_split = first.data["val_split"]
    for member in members[1:]:
        same_seed = val_split == "public" or member.split_seed == first.split_seed
        if member.data["val_split"] != val_split or not same_seed:
            raise UserError(
                f"{first.name} held out {held_out_by(first)} and {member.name} {held_out_by(member)}, so the "
                "validation split of one was not held out from the other"
            )
    digests = np.unique(faces.digests[faces.where(TRAINING)])
    for member in members:
        if not np.array_equal(digests, member.data["training_digests"].numpy()):
            raise UserError(
                f"the Training images of {faces.source} are not those that {member.name} was trained on, so another "
                "split would be held out of them than it was validated on"
            )
    splits = make_splits(faces, val_split, first.split_seed)
    held_out = fingerprint(faces, splits["val"])
    for member in members:  # other labels or repetitions of the same images change the stratified split
        if member.data["split"]["val"] != held_out:
            raise UserError(
                f"the images held out of {faces.source} are not those that {member.name} was validated on: its labels "
                "or repeated images differ, and with them the split"
            )
    return splits["val"]


def held_out_by(member: Member) -> str:
    """The settings that say what it was validated on."""
    val_split = f"data.val_split={member.data['val_split']}"
    if member.data["val_split"] == "public":
        return val_split
    return f"{val_split} with {'seed' if member.seed == member.split_seed else 'data.split_seed'}={member.split_seed}"


def mismatch(member: Member, faces: Faces) -> str:
    words = {True: "synthetic faces", False: "real faces"}
    trained, scored = words[member.data["synthetic"]], words[faces.synthetic]
    return f"{member.name} was trained on {trained} and is scored on {scored}"
