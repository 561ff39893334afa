"""What surrounds the answers: what others reach, how to repeat it, and what is missing."""

import math
import shlex

from fer_lightning.data.faces import Faces
from fer_lightning.report import findings, published, words
from fer_lightning.report.archive import Archive, counts
from fer_lightning.report.blocks import Block, Bullets, Code, Heading, Point, Table, Text
from fer_lightning.report.findings import Study
from fer_lightning.results.conditions import Condition
from fer_lightning.results.run_folder import Run, overrides_of, versions_of


def others(study: Study) -> list[Block]:
    """The known results of others, then ours: every setting, per network the highest validation accuracy first."""
    rows: list[tuple[str, ...]] = [(name, accuracy, "", how) for name, accuracy, how in published.OTHERS]
    for conditions in study.networks.values():
        for condition in sorted(conditions, key=lambda c: -c.summary["val_acc"]):
            how = f"validation {words.spread(condition.values('val_acc'))}; {condition.epochs} epochs"
            how += f", {words.count(len(condition.runs), 'seed')}"
            scores = (_percent(condition, "test_private_acc"), _percent(condition, "test_public_acc"))
            rows.append((study.titled(f"here: {condition.title}"), *scores, how))
    if study.synthetic:
        note = "Ours are scores on synthetic faces, which do not compare with the others’."
    elif all(math.isnan(condition.summary["test_private_acc"]) for condition in study.conditions):
        note = (
            "The data here has no labelled PrivateTest images. Ours are scores on PublicTest, which are other images: "
            "the two columns do not compare directly."
        )
    else:
        note = "Ours come with their 95 % interval; the others’ are as their authors state them."
    note += " Ours are all settings, for each network in the order of their validation accuracy, which chose the epoch."
    more = "An accuracy on 3,589 images carries a 95 % interval of about ±1.5 points; none of the others states one."
    heads = ("system", "PrivateTest (95 %)", "PublicTest (95 %)", "how")
    return [Heading("What others reach on FER2013"), Table(heads, rows), Text(f"{note} {more}")]


def _percent(condition: Condition, score: str) -> str:
    row = condition.summary
    if math.isnan(row[score]):
        return ""
    bounds = (
        "" if math.isnan(row[f"{score}_lo"]) else f" ({row[f'{score}_lo'] * 100:.1f}–{row[f'{score}_hi'] * 100:.1f})"
    )
    return f"{words.percent(row[score], 2)}{bounds}"


def repeat(study: Study, archive: Archive, command: str) -> list[Block]:
    """Commands, seeds, speed, devices, versions and the data's fingerprint."""
    commands = {run.name: command_of(run) for run in study.runs}
    shown = dict.fromkeys(line for line in commands.values() if line)
    unknown = [name for name, line in commands.items() if not line]
    blocks: list[Block] = [Heading("How to repeat it"), Code("\n".join([*shown, command]))]
    if unknown:
        blocks.append(
            Text(f"Without a readable .hydra/overrides.yaml, so their command is not known: {words.in_words(unknown)}.")
        )
    rows = [
        (
            run.name,
            words.listed([run.metrics["seed"]]),
            str(len(run.epochs)),
            words.number(run.metrics["seconds_per_epoch"], ".3g"),
            words.whole(run.metrics["images_per_second"]),
            words.number(run.metrics["train_seconds"], ",.0f"),
        )
        for run in study.runs
    ]
    heads = ("run", "seed", "epochs", "seconds per epoch", "images per second", "seconds of training")
    blocks.append(Table(heads, rows, "The same seed gives the same figures on the same processor, times excepted"))
    places: dict[tuple[str, ...], int] = {}
    for run in study.runs:
        versions = versions_of(run.metrics)
        place = (run.metrics["device"] or "not recorded", run.metrics["precision"] or "", versions or "not recorded")
        places[place] = places.get(place, 0) + 1
    made = [(*place, str(number)) for place, number in places.items()]
    blocks.append(Table(("device", "precision", "versions", "runs"), made, "What the runs were made with"))
    caption = "Fingerprint: of all images with usage and label, whatever their order or the form of the file"
    blocks.append(Table(("data", "read from", "form", "images", "fingerprint"), _data(study, archive), caption))
    return blocks


def command_of(run: Run) -> str | None:
    """The command that made the run, as Hydra recorded it; None where it did not, or nobody can read it."""
    overrides = overrides_of(run.folder)
    return None if overrides is None else shlex.join(["python", "-m", "fer_lightning", *overrides])


def _data(study: Study, archive: Archive) -> list[tuple[str, ...]]:
    rows: dict[tuple[str, ...], None] = {}
    for run in study.runs:
        faces = archive.faces(run)
        images = counts(faces) if isinstance(faces, Faces) else f"not known: {faces}"
        source, form, mark = (run.metrics.get(key) or "not recorded" for key in ("source", "form", "data_fingerprint"))
        rows[(run.metrics["data"], source, form, images, mark)] = None
    return list(rows)


def missing(study: Study, archive: Archive) -> list[Block]:
    """What the runs leave open and what would fill it; nothing where nothing is missing."""
    items = []
    for network in findings.NETWORKS:
        name, conditions = network.upper(), study.networks.get(network)
        if conditions is None:
            items.append(Point(f"A completed run of the {name}:", command=f"python -m fer_lightning model={network}"))
            continue
        ablation = findings.ablation(conditions)
        have = ablation.studied if ablation else {condition.aug for condition in conditions}
        lacking = [aug for aug in published.AUGS if aug not in have]
        if not ablation and len(lacking) < 2:
            items.append(Point(f"{name}: two of aug=none, norm and norm_aug with otherwise the same settings"))
        elif lacking:
            command = f"python -m fer_lightning --multirun model={network} aug={','.join(lacking)}"
            items.append(
                Point(f"{name}: aug={words.in_words(lacking)} with otherwise the same settings:", command=command)
            )
        if ablation and any(len(condition.runs) < 2 for condition in ablation.studied.values()):
            items.append(Point(f"{name}: a second seed of some setting, whose spread over seeds is not known"))
        if findings.too_strong(conditions, ablation) is None:
            command = f"python -m fer_lightning model={network} experiment=too_strong"
            items.append(Point(f"{name}: augmentation that is too strong:", command=command))
    if all(run.metrics["test_private_acc"] is None for run in study.runs):
        items.append(Point("PrivateTest scores: the data of these runs has no labelled PrivateTest images"))
    for condition in study.mains.values():
        faces = archive.faces(condition.runs[0])
        if not isinstance(faces, Faces):
            items.append(Point(f"{condition.network.upper()}: the misclassified faces: {faces}"))
    items += [Point(f"Not counted: {name}: {cause}") for name, cause in study.left_out]
    return [Heading("What is missing"), Bullets(items)] if items else []
