"""Runs and sweeps as one page that answers the study's questions: python -m fer_lightning.report PATH… [--out FILE]

findings.py        run folders → conditions (results/conditions.py), and choices among them
comparisons.py     is a difference between two conditions more than chance?
archive.py         the faces behind the predictions, and their fingerprint
published.py       what the study says, and what others reach
answers.py         findings → blocks: the whole report, from its four parts networks.py, curves.py, ablation.py and
                   confusions.py, and closing.py
blocks.py          what a report is made of, whatever it is written as
html.py            blocks → a page; charts.py draws its line charts as SVG
markdown.py        blocks → Markdown with its pictures
"""
