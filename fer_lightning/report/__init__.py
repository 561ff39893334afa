"""Runs and sweeps as one page that answers the study's questions: python -m fer_lightning.report PATH… [--out FILE]

study.py           run folders → conditions (results/conditions.py), choices among them, what an answer is
comparisons.py     is a difference between two conditions more than chance?
pictures.py        curves with their numbers, drawn by results/figures.py
archive.py         the faces behind the predictions, and their fingerprint
published.py       what the study says, and what others reach
glance.py, networks.py, curves.py, ablation.py, confusions.py, explanations.py, closing.py: the sections; each makes
                   plain figures from the study, which its template in results/templates/report/ shows
page.py            all of them as one page
"""
