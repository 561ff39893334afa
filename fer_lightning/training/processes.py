"""Several processes of one run (`trainer=ddp`, torchrun, SLURM)."""

import os

RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")  # in the order in which Lightning reads them


def is_first_process() -> bool:
    """Whether this is the process that checks, writes and prints."""
    return next((os.environ[name] for name in RANKS if name in os.environ), "0") == "0"
