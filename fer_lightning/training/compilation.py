"""`Compiled`: a function through `torch.compile` for the batches that matter, and as it is where that does not work."""

import logging
from collections.abc import Callable
from typing import Any

import torch
import torch._functorch.config
from torch import Tensor

log = logging.getLogger(__name__)


class Compiled:
    """Calls `function` compiled where its first argument is a batch of `batch_size`; as it is for all others.

    A training has 200 batches of one size in an epoch and one smaller one at its end, for which another compilation
    (some ten seconds) never pays. mode: as `torch.compile` names it; "reduce-overhead" replays CUDA graphs.

    Where the first compiled call fails (no compiler for the device, an operation that it does not know; of the backward
    pass as well), a warning says so, `failure` holds the reason and every call takes `function` itself, with the same
    results but for rounding.
    """

    def __init__(self, function: Callable[..., Any], batch_size: int, mode: str = "default") -> None:
        self.function, self.batch_size, self.mode = function, batch_size, mode
        self.compiled: Callable[..., Any] | None = None
        self.worked = False
        self.failure: str | None = None

    def __call__(self, batch: Tensor, *more: Any) -> Any:
        if self.failure is not None or len(batch) != self.batch_size:
            return self.function(batch, *more)
        if self.worked:
            assert self.compiled is not None
            return self.compiled(batch, *more)
        try:
            if self.compiled is None:
                self.compiled = torch.compile(self.function, dynamic=False, mode=self.mode)
            # The backward pass would be compiled where it first runs, out of reach of the `except` below.
            with torch._functorch.config.patch(force_non_lazy_backward_lowering=True):
                result = self.compiled(batch, *more)
        except Exception as error:  # compilers fail in more ways than they document
            lines = [line.strip() for line in str(error).splitlines() if line.strip()] or ["no reason given"]
            reason = " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]  # torch's: "… raised:", then what
            self.failure = f"{type(error).__name__}: {reason}"
            log.warning("trainer.compile: not compiled, so it trains more slowly: %s", self.failure)
            return self.function(batch, *more)
        self.worked = True
        return result
