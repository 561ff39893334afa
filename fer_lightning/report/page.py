"""The report as one page: its sections in order."""

from markupsafe import Markup

from fer_lightning.report import ablation, closing, confusions, curves, explanations, glance, networks
from fer_lightning.report.archive import Archive
from fer_lightning.report.study import Study
from fer_lightning.results import figures, page
from fer_lightning.results.conditions import LOSS_LEVELS


def render(study: Study, command: str, marker: str) -> str:
    """HTML; `command` is the one that makes this report, `marker` markup that tells it from other files."""
    archive, ablations = Archive(), ablation.ablations(study)
    elsewhere = [condition for one in ablations.values() for condition in one.all.values()]
    return page.render(
        "report/report.html.j2",
        title="Facial expression recognition: the study, repeated" + " · SYNTHETIC FACES" * study.synthetic,
        marker=Markup(marker),
        colours=figures.COLOURS,
        study=study,
        onsets=curves.in_words,
        levels=LOSS_LEVELS,
        glance=glance.section(study, ablations.values()),
        networks=networks.section(study),
        curves=curves.section(study, elsewhere),
        ablation=ablation.section(study, ablations.values()),
        confusions=confusions.section(study, archive),
        explanations=explanations.section(study),
        others=closing.others(study),
        repeat=closing.repeat(study, archive, command),
        settings=closing.settings(study),
        missing=closing.missing(study, ablations),
    )
