"""What a run was made with and on, for its metrics.json: versions, device."""

import functools
import platform
import subprocess
from pathlib import Path

import pytorch_lightning as pl
import torch

from fer_lightning import __version__

CHECKOUT = Path(__file__).parents[2]


@functools.cache  # code that changes while a process runs is not what it runs
def versions() -> dict[str, str | None]:
    return {
        "fer_lightning": __version__,
        "commit": commit(CHECKOUT),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "pytorch_lightning": pl.__version__,
    }


def commit(checkout: Path) -> str | None:
    """The commit of a git checkout, with `+changes` where code or recipes differ from it; None where none is known."""
    if not (checkout / ".git").exists():  # installed, or unpacked inside another repository
        return None
    git = ["git", "--no-optional-locks", "-C", str(checkout)]
    try:
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
        changed = [*git, "status", "--porcelain", "--", "fer_lightning", "conf"]
        changes = subprocess.run(changed, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return head.stdout.strip() + "+changes" * bool(changes.stdout)


def device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type == "cpu":
        threads = torch.get_num_threads()
        return f"CPU {processor()}, {threads} thread{'s'[: threads > 1]}"
    return device.type


def processor() -> str:
    """The processor's name, as far as the system tells."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
