"""The networks, CNN against DNN."""

import math
from typing import Any

import numpy as np

from fer_lightning.report import published
from fer_lightning.report import study as studies
from fer_lightning.report.comparisons import compare_accuracy
from fer_lightning.report.pictures import Curve, lines
from fer_lightning.report.study import CONFIRMED, CONTRADICTED, NOT_RUN, UNDECIDED, Answer, Study, word
from fer_lightning.results.conditions import Condition
from fer_lightning.results.run_folder import Run


def section(study: Study) -> dict[str, Any]:
    rivals = studies.rivals(study)
    shown = rivals or [*study.mains.values()]
    curves = [Curve(c.title, c, "val_acc") for c in shown]
    pictures = [lines(study, "Validation accuracy", "accuracy", curves)]
    if all(np.isfinite(_minutes(run)).all() for c in shown for run in c.runs):
        timed = [Curve(c.title, c, "val_acc", against=_minutes) for c in shown]
        title = "Validation accuracy by training time"
        pictures.append(lines(study, title, "accuracy", timed, x_label="minutes of training"))
    return {
        "networks": [_facts(network, condition) for network, condition in study.mains.items()],
        "pictures": pictures,
        "beside": _beside(*rivals) if rivals else None,
    }


def answer(study: Study) -> Answer:
    rivals = studies.rivals(study)
    if rivals is None:
        lacking = [name.upper() for name in studies.NETWORKS if name not in study.networks]
        return Answer("networks", NOT_RUN, numbers={"lacking": lacking})
    beside = _beside(*rivals)
    found = beside["found"]
    decided = UNDECIDED if not found.certain else CONFIRMED if found.difference > 0 else CONTRADICTED
    return Answer("networks", word(study, beside["last"], decided), numbers=beside)


def _facts(network: str, condition: Condition) -> dict[str, Any]:
    metrics = condition.runs[0].metrics
    model = condition.runs[0].folder / "model.txt"
    return {
        "network": network.upper(),
        "condition": condition,
        "said": published.VALIDATION.get(network, "") if condition.aug == "norm_aug" else "",
        "params": metrics["params"],
        "published": published.PARAMS.get(network),
        "layers": model.read_text(encoding="utf-8", errors="replace").strip() if model.is_file() else None,
    }


def _minutes(run: Run) -> np.ndarray:
    return np.cumsum(run.epochs["seconds"].to_numpy(np.float64)) / 60


def _beside(cnn: Condition, dnn: Condition) -> dict[str, Any]:
    last = min(cnn.epochs, dnn.epochs)
    curves = [c.mean_curve("val_acc")[:last] for c in (cnn, dnn)]
    seconds = [c.summary["seconds_per_epoch"] for c in (cnn, dnn)]
    places = [{f"{run.metrics['device']}, {run.metrics['precision']}" for run in c.runs} for c in (cnn, dnn)]
    return {
        "cnn": cnn,
        "dnn": dnn,
        "last": last,
        "found": compare_accuracy(cnn, dnn),
        "ahead": int((curves[0] > curves[1]).sum()),
        "apart": studies.differences(cnn, dnn, "model"),
        "seconds": None if any(map(math.isnan, seconds)) else seconds,
        "same_place": len(places[0] | places[1]) == 1,
    }
