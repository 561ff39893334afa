"""Which images say something of which networks: the splits that are scored and compared, and why others are not."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fer_lightning.data.faces import PRIVATE, PUBLIC, USAGES, Faces, fingerprint
from fer_lightning.data.splits import Splits, make_splits
from fer_lightning.errors import UserError
from fer_lightning.results.members import Member

TEST_USAGE = {"public": PUBLIC, "private": PRIVATE}


@dataclass(frozen=True)
class Selection:
    """The positions of the images of each split that is scored, and of each that is compared.

    notes: why a split is left out, and whether faces are of another kind than in training; a sentence each.
    """

    scored: Splits
    compared: Splits
    notes: list[str]


def select(faces: Faces, members: Sequence[Member], others: Sequence[Member], split: str) -> Selection:
    """The splits of --split: scored where they are fair to `members`, compared where also to `others`, perhaps none.

    UserError where nothing of --split can be scored, or compared with others that there are.
    """
    fair, unfair = fair_splits(faces, members)
    if split in unfair:
        raise UserError(f"--split {split}: {unfair[split]}")
    if not fair:
        raise UserError("\n  ".join(["nothing can be scored:", *(f"{name}: {unfair[name]}" for name in unfair)]))
    scored = {name: where for name, where in fair.items() if split in ("all", name)}
    notes = [f"{name} is not scored: {reason}" for name, reason in unfair.items() if split == "all"]
    compared: Splits = {}
    if others:
        fair, unfair = fair_splits(faces, [*members, *others])
        compared = {name: where for name, where in scored.items() if name in fair}
        reasons = [f"{name} is not compared: {unfair[name]}" for name in scored if name in unfair]
        if not compared:
            header = f"--compare {others[0].name} --split {split}: no split is fair to both"
            raise UserError("\n  ".join([header, *reasons]))
        notes += reasons
    kinds = {True: "synthetic faces", False: "real faces"}
    notes += [
        f"{member.name} was trained on {kinds[member.data['synthetic']]} and is scored on {kinds[faces.synthetic]}"
        for member in (*members, *others)
        if member.data["synthetic"] != faces.synthetic
    ]
    return Selection(scored, compared, notes)


def fair_splits(faces: Faces, members: Sequence[Member]) -> tuple[Splits, dict[str, str]]:
    """The positions of each split of SCORED that is fair to all members, and the reasons why the others are not."""
    fair: Splits = {}
    unfair: dict[str, str] = {}
    try:
        fair["val"] = validation_split(faces, members)
    except UserError as error:
        unfair["val"] = str(error)
    for name, usage in TEST_USAGE.items():
        chosen_on = [member for member in members if usage == PUBLIC and member.data["val_split"] == "public"]
        if chosen_on:
            unfair[name] = (
                f"{chosen_on[0].name} was trained with data.val_split=public: its checkpoint was chosen on PublicTest, "
                "so that is its validation split and no test"
            )
        elif not (faces.usage == usage).any():
            unfair[name] = f"{faces.source} has no {USAGES[usage]} images"
        else:
            fair[name] = faces.where(usage)
    return fair, unfair


def validation_split(faces: Faces, members: Sequence[Member]) -> np.ndarray:
    """The positions of the images that every member was validated on, int (N,).

    UserError where `faces` holds no such split. That its fingerprint is the same is enough, whatever the other images
    are: these each training held out.
    """
    first = members[0]
    val = make_splits(faces, first.data["val_split"], first.split_seed)["val"]
    held_out = fingerprint(faces, val)
    for member in members:
        if member.data["split"]["val"] != held_out:
            raise UserError(
                f"{first.name} held out {split_settings(first)}, which of {faces.source} gives other images than "
                f"{member.name} was validated on ({split_settings(member)}); it may have been trained on them"
            )
    return val


def split_settings(member: Member) -> str:
    """The settings that decided what was held out of its training, as on the command line."""
    val_split = f"data.val_split={member.data['val_split']}"
    if member.data["val_split"] == "public":
        return val_split
    key = "seed" if member.data["seed"] == member.split_seed else "data.split_seed"
    return f"{val_split} with {key}={member.split_seed}"
