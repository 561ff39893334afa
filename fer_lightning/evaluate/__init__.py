"""Score a checkpoint: python -m fer_lightning.evaluate RUN. evaluation.py lists the steps, a file each."""
