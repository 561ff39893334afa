"""Several processes of one run (`trainer=ddp`)."""

import os


def is_first_process() -> bool:
    """Whether this is the process that checks, writes and prints; Lightning starts the others with LOCAL_RANK set."""
    return os.environ.get("LOCAL_RANK", "0") == "0"
