"""`Checkpoints`: the states of a training between two epochs, in memory and as last.ckpt and best.ckpt of its run."""

import copy
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO

from fer_lightning.results.files import replacing
from fer_lightning.results.paths import best_checkpoint, last_checkpoint
from fer_lightning.training.averaging import KEY as AVERAGING

DECISIVE = "decisive_settings"  # in a checkpoint to go on from, what it must be gone on with
ONLY_TO_GO_ON = ("callbacks", "optimizer_states", "lr_schedulers", AVERAGING, DECISIVE)


class Checkpoints(TorchCheckpointIO):
    """Takes each state that Lightning saves, into memory; its owner then calls `write` or `hold`.

    last.ckpt is the newest state written. best.ckpt is written after it, from the same state, where the state's last
    epoch is the best so far. So best.ckpt is never newer; where a run was killed between the two, going on writes it.

    Lightning's own way onto the disk (2.6.6, by fsspec) goes through the system's temporary folder, from which the file
    is moved. Where that is another file system, as a /tmp in memory is, the move is a copy: killed in it, a run would
    be left with part of a last.ckpt and none to go on from.
    """

    def __init__(self, folder: Path) -> None:
        self.last, self.best = last_checkpoint(folder), best_checkpoint(folder)
        self.state: dict[str, Any] | None = None  # of several processes, in the first one only
        self.written = False  # whether last.ckpt holds it

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        # Its tensors are those in training: write or hold it before the next step.
        self.state, self.written = checkpoint, False

    def hold(self) -> None:
        """Keep the state in memory, on its device, while the training goes on."""
        self.state = copy.deepcopy(self.state)

    def write(self, best: bool) -> None:
        """Write the state as last.ckpt, and then as best.ckpt where its last epoch is the best."""
        assert self.state is not None
        write_checkpoint(self.state, self.last)
        if best:
            write_checkpoint(scored_part(self.state), self.best)
        self.written = True


def write_checkpoint(checkpoint: dict[str, Any], path: Path) -> None:
    """Put a checkpoint in its place in one step, in a folder that may be new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part, open(part, "wb") as file:
        try:
            torch.save(checkpoint, file)
        except RuntimeError as error:  # torch hides what the disk says, or Ctrl-C, behind words of its own
            raise error.__context__ if isinstance(error.__context__, OSError | KeyboardInterrupt) else error from None


def scored_part(state: dict[str, Any]) -> dict[str, Any]:
    """Of a checkpoint to go on from, what its network is made of: best.ckpt, if its last epoch is the best."""
    kept = {key: value for key, value in state.items() if key not in ONLY_TO_GO_ON}
    return {**kept, "epoch": state["epoch"] - 1}  # 0-based, of the epoch that the weights are from
