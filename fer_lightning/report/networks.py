"""Part 1: the networks, their settings and accuracies, CNN beside DNN."""

import math
import re
from statistics import fmean

from fer_lightning.report import findings, published, words
from fer_lightning.report.blocks import Block, Bullets, Charts, Code, Fold, Heading, Point, Table, Text
from fer_lightning.report.charts import Chart
from fer_lightning.report.comparisons import compare, compare_accuracy
from fer_lightning.report.drawing import epochs_listed, lines_of, thin_lines
from fer_lightning.report.findings import Study
from fer_lightning.results.conditions import TESTS, Condition
from fer_lightning.results.run_folder import Run
from fer_lightning.results.scores import wilson_interval

RUN_SCORES = ("val_acc", "test_public_acc", "test_public_acc_unseen", "test_private_acc", "test_private_acc_unseen")
DEFAULTS = (  # arguments in a printed layer that say nothing: PyTorch's defaults
    *("eps=1e-05", "momentum=0.1", "affine=True", "track_running_stats=True", "bias=True", "inplace=False"),
    *("dilation=1", "ceil_mode=False", "stride=(1, 1)", "padding=0"),
)


def answer(study: Study) -> tuple[list[Block], list[str]]:
    """The part, and its answer in short."""
    blocks: list[Block] = [Heading("1. The networks, CNN beside DNN"), _parameters(study)]
    for condition in study.mains.values():
        blocks += _layers(condition)
    blocks += [Heading("Settings", 3), _settings(study), Heading("Accuracies", 3), *_accuracies(study)]
    blocks.append(Heading("CNN beside DNN", 3))
    rivals = findings.rivals(study)
    if rivals is None:
        lacking = words.in_words([name.upper() for name in findings.NETWORKS if name not in study.networks])
        return [*blocks, Text(f"No completed run of the {lacking}: nothing to compare.")], [
            f"not answered, for want of a completed run of the {lacking}."
        ]
    more, short = _beside(study, *rivals)
    return blocks + more, [short]


def headline(study: Study) -> list[str]:
    """The accuracies of what stands for each network, beside the study's."""
    names = {"val_acc": "validation", **TESTS}
    sentences = []
    for condition in study.mains.values():
        parts = []
        for score, name in names.items():
            if math.isnan(condition.summary[score]):
                continue
            bounds = words.interval(condition.summary[f"{score}_lo"], condition.summary[f"{score}_hi"])
            unseen = words.number(condition.summary.get(f"{score}_unseen"))
            said = _said(condition, score)
            beside = [f"95 %: {bounds}" if bounds else "", f"unseen images {unseen}" if unseen else ""]
            beside.append(f"study {said}" if said else "")
            more = "; ".join(part for part in beside if part)
            parts.append(f"{name} {words.spread(condition.values(score))}" + (f" ({more})" if more else ""))
        params, known = condition.runs[0].metrics["params"], published.PARAMS.get(condition.network)
        other = "" if known in (None, params) else f", not the published network (parameters: {words.whole(params)})"
        sentences.append(f"{condition.title}{other}: {', '.join(parts)}.")
    return sentences


def _parameters(study: Study) -> Table:
    rows = []
    for network, condition in study.mains.items():
        params, known = condition.runs[0].metrics["params"], published.PARAMS.get(network)
        same = "" if known is None else "as published" if params == known else "not as published"
        rows.append((network.upper(), words.whole(params), words.whole(known), same))
    return Table(("network", "trainable parameters", "in the study", ""), rows)


def _layers(condition: Condition) -> list[Block]:
    name, path = condition.network.upper(), condition.runs[0].folder / "model.txt"
    if not path.is_file():
        return [Text(f"{name}: {path} is not there, so its layers are not known.")]
    text = path.read_text(encoding="utf-8", errors="replace").strip("\n")
    rows = [(block, " → ".join(layers)) for block, layers in layers_of(text).items()]
    return [
        Table(("block", "layers"), rows, f"{name}, input 1×48×48 (from model.txt; PyTorch’s defaults left out)"),
        Fold(f"{name}: model.txt in full", [Code(text)]),
    ]


def layers_of(model_txt: str) -> dict[str, list[str]]:
    """The blocks of a printed network, in order, each with its layers in short."""
    blocks: dict[str, list[str]] = {}
    names: list[str] = []  # of the modules around the line
    for line in model_txt.splitlines():
        if found := re.fullmatch(r"( +)\((\w+)\): (\w+)\((.*)\)", line):
            indent, name, kind, arguments = found.groups()
            around = names[: len(indent) // 2 - 1]
            blocks.setdefault(".".join(around) or name, []).append(f"{kind}({_in_short(arguments)})")
        elif found := re.fullmatch(r"( +)\((\w+)\): \w+\(", line):  # a container: its layers follow
            names[len(found[1]) // 2 - 1 :] = [found[2]]
    return blocks


def _in_short(arguments: str) -> str:
    """`1, 64, kernel_size=(5, 5), stride=(1, 1), padding=(2, 2)` → `1, 64, 5×5, padding 2`"""
    kept = [part for part in re.split(r", (?![^(]*\))", arguments) if part not in DEFAULTS]
    text = re.sub(r"\b(in_features|out_features|p|kernel_size|negative_slope)=", "", ", ".join(kept))
    text = re.sub(r"=\((\d+), \1\)", r" \1", text)  # padding=(2, 2)
    text = re.sub(r"\((\d+), (\d+)\)", r"\1×\2", text)  # the kernel
    return re.sub(r"\b(\d+), stride=\1$", r"\1", text)  # a pool's stride is its size


def _settings(study: Study) -> Table:
    keys = dict.fromkeys(key for condition in study.mains.values() for key in condition.keys)
    groups = [*dict.fromkeys(key.partition(".")[0] for key in keys)]
    hidden = re.compile(r"model|data|trainer|ckpt_path|.*\.(_target_|_partial_|name)")
    rows = [
        (
            key,
            published.SETTINGS.get(key, ""),
            *(words.setting(c.keys[key]) if key in c.keys else "" for c in study.mains.values()),
        )
        for key in sorted(keys, key=lambda key: groups.index(key.partition(".")[0]))
        if not hidden.fullmatch(key)
    ]
    rows.append(("seeds", "not said", *(words.listed(condition.seeds) for condition in study.mains.values())))
    which = words.in_words([condition.title for condition in study.mains.values()])
    caption = f"For each network what stands for it below: norm_aug where there is one, then the most epochs: {which}"
    return Table(("key", "in the study", *(network.upper() for network in study.mains)), rows, caption)


def _accuracies(study: Study) -> list[Block]:
    validation: list[tuple[str, ...]] = []
    test: list[tuple[str, ...]] = []
    for condition in study.conditions:
        row = condition.summary
        validation.append(
            (
                condition.title,
                words.listed(condition.seeds),
                str(condition.epochs),
                words.listed(condition.values("best_epoch")),
                words.spread(condition.values("val_acc")),
                words.interval(row["val_acc_lo"], row["val_acc_hi"]),
                _said(condition, "val_acc"),
                words.spread([float(run.epochs["train_acc"].iloc[-1]) for run in condition.runs]),
                _said(condition, "train_acc"),
            )
        )
        test += [
            (
                condition.title,
                name,
                words.spread(condition.values(score)),
                words.interval(row[f"{score}_lo"], row[f"{score}_hi"]),
                words.number(row[f"{score}_unseen"]),
                _said(condition, score),
            )
            for score, name in TESTS.items()
            if not math.isnan(row[score])
        ]
    heads = ("", "seeds", "epochs", "best epoch", "validation", "95 %", "study", "training, last epoch", "study")
    caption = (
        "Validation and training accuracy. ±: standard deviation over seeds. 95 %: Wilson interval for that many "
        "images, mean of the bounds over seeds; the study gives neither. Validation chose the epoch, which flatters "
        "it a little"
    )
    blocks: list[Block] = [Table(heads, validation, caption)]
    if test:
        caption = (
            "Test accuracy of the checkpoints that validation chose. Unseen: only the images that do not also stand, "
            "exactly, in Training. Whether the study’s public and private halves are these splits is open"
        )
        blocks.append(Table(("", "test", "accuracy", "95 %", "unseen", "study"), test, caption))
    else:
        blocks.append(Text("No test score: the data has no labelled test images."))
    runs = [(run.name, *(_scored(run, score) for score in RUN_SCORES)) for run in study.runs]
    every = ("run", "validation (95 %)", "PublicTest (95 %)", "unseen", "PrivateTest (95 %)", "unseen")
    return [*blocks, Fold("Every run’s accuracies", [Table(every, runs)])]


def _said(condition: Condition, score: str) -> str:
    """The study's figure, which is of normalization and augmentation together."""
    return published.ACCURACIES.get((condition.network, score), "") if condition.aug == "norm_aug" else ""


def _scored(run: Run, score: str) -> str:
    bounds = run.metrics.get(f"{score}_95")
    return words.number(run.metrics[score]) + (f" ({words.interval(*bounds)})" if bounds else "")


def _beside(study: Study, cnn: Condition, dnn: Condition) -> tuple[list[Block], str]:
    last = min(cnn.epochs, dnn.epochs)
    rows = [
        (
            str(epoch),
            words.spread(cnn.at("val_acc", epoch)),
            words.spread(dnn.at("val_acc", epoch)),
            words.signed(fmean(cnn.at("val_acc", epoch)) - fmean(dnn.at("val_acc", epoch))),
        )
        for epoch in epochs_listed(last)
    ]
    curves = [c.mean_curve("val_acc")[:last] for c in (cnn, dnn)]
    ahead = int((curves[0] > curves[1]).sum())
    gap = float(curves[0][-1] - curves[1][-1])
    where = f"{abs(gap):.3f} {'ahead' if gap > 0 else 'behind'}" if gap else "level"
    at_last = (
        f"at epoch {last}, the last that both have, the CNN’s validation accuracy is {curves[0][-1]:.3f} and the DNN’s "
        f"{curves[1][-1]:.3f}: the CNN is {where}, and it is ahead at {ahead} of {words.count(last, 'epoch')}."
    )
    pace, so = _pace(cnn, dnn)
    apart = findings.differences(cnn, dnn, "model")
    differ = [f"{key} ({words.setting(a)} and {words.setting(b)})" for key, (a, b) in apart.items()]
    alone = (
        f"Besides the network they differ in {words.in_words(differ)}." if differ else "They differ in nothing else."
    )
    best = compare_accuracy(cnn, dnn)
    sentences = [
        f"Compared are {cnn.title} and {dnn.title}. {alone}",
        f"{at_last[0].upper()}{at_last[1:]} {_weight(cnn, dnn, last)} The study: {published.SAME_EPOCH}; "
        + ("so it is here." if gap > 0 else "not so here."),
        f"At their best epochs the CNN has {fmean(cnn.values('val_acc')):.3f} (of {cnn.epochs} epochs) and the DNN "
        f"{fmean(dnn.values('val_acc')):.3f} (of {dnn.epochs}); the difference is {words.verdict(best)}.",
        f"{pace} The study: {published.SECONDS}{so}",
    ]
    lines = [line for i, c in enumerate((cnn, dnn)) for line in lines_of(c, "val_acc", c.network.upper(), i)]
    chart = Chart(study.titled("Validation accuracy"), "accuracy", lines)
    blocks: list[Block] = [
        Bullets([Point(sentence) for sentence in sentences]),
        Charts([chart], f"Validation accuracy of {cnn.title} and {dnn.title}.{thin_lines(cnn, dnn)}"),
        Table(("epoch", "CNN", "DNN", "CNN − DNN"), rows, "Validation accuracy at the same epoch"),
    ]
    return blocks, f"{at_last} {pace}"


def _weight(cnn: Condition, dnn: Condition, epoch: int) -> str:
    """Whether the difference at one epoch is more than chance. No image's prediction is known but at the best epoch."""
    values = cnn.at("val_acc", epoch), dnn.at("val_acc", epoch)
    found = compare(cnn, dnn, *values)
    if found.p is not None:
        return f"The difference is {words.verdict(found)}."
    images = [condition.runs[0].metrics["val_n"] for condition in (cnn, dnn)]
    if not all(images):
        return "Whether the difference is more than chance is not known: too few seeds."
    bounds = [wilson_interval(round(value[0] * n), n) for value, n in zip(values, images, strict=True)]
    apart = bounds[0][0] > bounds[1][1] or bounds[1][0] > bounds[0][1]
    shown = words.in_words([words.interval(*pair) for pair in bounds])
    told = "do not overlap: more than chance" if apart else "overlap: not told from chance"
    return f"The 95 % intervals of a single run each, {shown}, {told}."


def _pace(cnn: Condition, dnn: Condition) -> tuple[str, str]:
    """Seconds per epoch, and whether it is as the study says."""
    one, other = cnn.summary["seconds_per_epoch"], dnn.summary["seconds_per_epoch"]
    if math.isnan(one) or math.isnan(other):
        return "Seconds per epoch are not known of both.", "."
    times = f"An epoch of training takes the CNN {one:.3g} s and the DNN {other:.3g} s"
    places = [{f"{run.metrics['device']}, {run.metrics['precision']}" for run in c.runs} for c in (cnn, dnn)]
    if len(places[0] | places[1]) > 1:
        where = words.in_words([" or ".join(sorted(place)) for place in places])
        return f"{times}, on different devices or in different precisions ({where}).", "; the two do not compare."
    ratio = (
        f"the CNN takes {one / other:.3g} times as long"
        if one > other
        else f"the DNN takes {other / one:.3g} times as long"
    )
    return f"{times}, on the same device: {ratio}.", "; so it does here." if one > other else "; not so here."
