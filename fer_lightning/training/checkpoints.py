"""`Checkpoints`: the states of a training between two epochs, in memory and as last.ckpt and best.ckpt of its run."""

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO

from fer_lightning.results.files import replacing
from fer_lightning.results.paths import best_checkpoint, last_checkpoint
from fer_lightning.training.averaging import KEY as AVERAGING

DECISIVE = "decisive_settings"  # in a checkpoint to go on from, what it must be gone on with
ONLY_TO_GO_ON = ("callbacks", "optimizer_states", "lr_schedulers", AVERAGING, DECISIVE)


@dataclass(frozen=True)
class State:
    """What Lightning saves of a training, `checkpoint`, and whether last.ckpt holds it."""

    checkpoint: dict[str, Any]
    written: bool = False

    @property
    def epochs(self) -> int:
        """How many epochs are behind it."""
        return int(self.checkpoint["epoch"])


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
        self.state: State | None = None  # of several processes, in the first one only

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        self.state = State(checkpoint)  # its tensors are those in training: write or hold it before the next step

    def hold(self) -> None:
        """Keep the state in memory, on its device, while the training goes on."""
        assert self.state is not None
        self.state = State(copy.deepcopy(self.state.checkpoint))

    def write(self, best: bool) -> None:
        """Write the state as last.ckpt, and then as best.ckpt where its last epoch is the best."""
        assert self.state is not None
        write_checkpoint(self.state.checkpoint, self.last)
        if best:
            write_checkpoint(scored_part(self.state.checkpoint), self.best)
        self.state = State(self.state.checkpoint, written=True)


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
