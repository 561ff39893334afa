"""Runs and sweeps as one page that answers the study's questions: python -m fer_lightning.report PATH… [--out FILE]

published.py    what the study says, and what others reach
chance.py       Student's t tests and Holm's correction
findings.py     run folders → settings, choices among them, comparisons: plain data
blocks.py       what a report is made of, whatever it is written as
charts.py       line charts → SVG
answers.py      findings → blocks: the text of the report
html.py, markdown.py    blocks → a page, or Markdown with its pictures
"""
