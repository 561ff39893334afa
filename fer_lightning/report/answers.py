"""The report as a whole: every word of it from the runs' figures, beside the study's."""

from fer_lightning.report import ablation, closing, confusions, curves, networks, words
from fer_lightning.report.archive import Archive
from fer_lightning.report.blocks import Block, Bullets, Heading, Point, Text
from fer_lightning.report.findings import Study

TITLE = "Facial expression recognition: the study and what was measured"
SYNTHETIC = (
    "Every figure here was measured on synthetic faces: schematic ones that this program drew. They show that "
    "everything works; about FER2013 and about the study they say nothing."
)


def report(study: Study, archive: Archive, command: str) -> list[Block]:
    """All blocks; `command` is the one that makes this report."""
    parts = {
        "CNN beside DNN": networks.answer(study),
        "Onset of overfitting": curves.answer(study),
        "Normalization and augmentation": ablation.answer(study),
        "Confusions": confusions.answer(study, archive),
    }
    in_short = {"Accuracy": networks.headline(study), **{lead: answers for lead, (_, answers) in parts.items()}}
    counted = f"{words.count(len(study.runs), 'completed run')} in {words.count(len(study.conditions), 'setting')}"
    return [
        Heading(f"{TITLE} · SYNTHETIC FACES" if study.synthetic else TITLE, 1),
        *([Text(SYNTHETIC, warning=True)] if study.synthetic else []),
        Text(
            f"{counted}, beside what the reproduced study reports. Accuracies are shares from 0 to 1 and, where "
            "nothing else is said, of the epoch with the highest validation accuracy. More than chance means p < 0.05 "
            "in the test that is named."
        ),
        Heading("In short"),
        Bullets([Point(short, lead=f"{lead}:") for lead, answers in in_short.items() for short in answers]),
        *closing.missing(study, archive),
        *(block for blocks, _ in parts.values() for block in blocks),
        *closing.others(study),
        *closing.repeat(study, archive, command),
    ]
