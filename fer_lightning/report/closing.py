"""What surrounds the answers: what others reach, how to repeat it, what is folded away, what is missing."""

import re
import shlex
from collections import Counter
from typing import Any

from fer_lightning.data.faces import Faces
from fer_lightning.data.source import counts
from fer_lightning.report import published
from fer_lightning.report.ablation import Ablation
from fer_lightning.report.archive import Archive
from fer_lightning.report.study import NETWORKS, Study
from fer_lightning.results.run_folder import Run, overrides_of, versions_of

HIDDEN = re.compile(r"model|data|trainer|distill|logger|.*\.(_target_|_partial_|name)")  # keys that say nothing more


def others(study: Study) -> dict[str, Any]:
    """The known results of others, then every setting here, per network the highest validation accuracy first."""
    ours = [c for found in study.networks.values() for c in sorted(found, key=lambda c: -c.summary["val_acc"])]
    return {"known": published.OTHERS, "ours": ours}


def repeat(study: Study, archive: Archive, command: str) -> dict[str, Any]:
    known, unknown = commands(study.runs)
    made = Counter(
        (run.metrics["device"] or "not recorded", run.metrics["precision"] or "", versions_of(run.metrics))
        for run in study.runs
    )
    data: dict[tuple[str, ...], None] = {}
    for run in study.runs:
        faces = archive.faces(run)
        images = counts(faces) if isinstance(faces, Faces) else f"not known: {faces}"
        source, form, mark = (run.metrics.get(key) or "not recorded" for key in ("source", "form", "data_fingerprint"))
        data[(source, form, images, mark)] = None
    return {
        "commands": [*known, command],
        "unknown": unknown,
        "made": [(*place, str(number)) for place, number in made.items()],
        "data": list(data),
    }


def commands(runs: list[Run]) -> tuple[list[str], list[str]]:
    """The commands that made the runs, those that differ in their seed alone as one; runs whose command nobody knows.

    On a CPU with the number of threads, on which digits depend.
    """
    seeds: dict[tuple[str, ...], list[str]] = {}
    unknown = []
    for run in runs:
        given = _given(run)
        if given is None:
            unknown.append(run.name)
            continue
        seeds.setdefault(tuple(given), []).append(str(run.metrics["seed"]))
    made = [
        ["python", "-m", "fer_lightning", *["--multirun"][: len(found) - 1], *given, f"seed={','.join(found)}"]
        for given, found in seeds.items()
    ]
    return [shlex.join(command) for command in made], unknown


def _given(run: Run) -> list[str] | None:
    """Its command line without seed and folders, with the number of threads; None where nobody knows."""
    overrides = overrides_of(run.folder)
    if overrides is None:
        return None
    given = [part for part in overrides if not part.startswith(("seed=", "hydra."))]
    threads = re.search(r", (\d+) threads?$", run.metrics["device"] or "")
    if threads and not any(part.startswith("trainer.threads=") for part in given):
        given.append(f"trainer.threads={threads[1]}")
    return given


def settings(study: Study) -> dict[str, Any]:
    """The configuration of what stands for each network, beside what the study says of it."""
    mains = study.mains.values()
    keys = dict.fromkeys(key for condition in mains for key in condition.keys)
    groups = [*dict.fromkeys(key.partition(".")[0] for key in keys)]
    shown = [
        key for key in sorted(keys, key=lambda key: groups.index(key.partition(".")[0])) if not HIDDEN.fullmatch(key)
    ]
    said = published.SETTINGS
    rows = [
        (key, said.get(key, ""), *("" if (own := c.keys.get(key)) is None else own for c in mains)) for key in shown
    ]
    rows.append(("seeds", "not said", *(f"seed {', '.join(map(str, condition.seeds))}" for condition in mains)))
    return {"headers": ("key", "in the study", *(condition.title for condition in mains)), "rows": rows}


def missing(study: Study, ablations: dict[str, Ablation]) -> list[tuple[str, str]]:
    """What the runs leave open, and the command that would fill it where one would."""
    items = []
    for network in NETWORKS:
        name, ablation = network.upper(), ablations.get(network)
        if ablation is None:
            items.append((f"{name}: a completed run", f"python -m fer_lightning model={network}"))
            continue
        have = ablation.studied or {condition.aug for condition in study.networks[network]}
        if lacking := [aug for aug in published.AUGS if aug not in have]:
            given = [part for part in _given(study.mains[network].runs[0]) or [] if not part.startswith("aug=")]
            command = shlex.join(["python", "-m", "fer_lightning", "--multirun", *given, f"aug={','.join(lacking)}"])
            items.append((f"{name}: {', '.join(lacking)}, with otherwise the same settings", command))
        elif not ablation.studied:
            items.append((f"{name}: none, norm and norm_aug with otherwise the same settings", ""))
        if any(len(condition.runs) < 2 for condition in ablation.studied.values()):
            items.append((f"{name}: a second seed of some setting of the ablation", ""))
        if ablation.harsh is None:
            command = f"python -m fer_lightning model={network} experiment=too_strong"
            items.append((f"{name}: augmentation that is too strong", command))
    if all(run.metrics["test_private_acc"] is None for run in study.runs):
        items.append(("PrivateTest scores: the data has no labelled PrivateTest images", ""))
    return items
