"""The exception that stands for a user's mistake, as opposed to a failure of ours; how a command begins and ends."""

import os
import sys
from collections.abc import Callable
from typing import NoReturn


class UserError(Exception):
    """Bad input or configuration.

    Its message is all that the user sees: it names the file or key, the line and column where there is one, what is
    wrong and what would be right. Commands print it without a traceback and exit with status 2.
    """


def print_error(error: BaseException) -> None:
    """Print a user's mistake, and nothing else of it, to standard error."""
    print(f"fer_lightning: {error}", file=sys.stderr)


def say_loading() -> None:
    """Tell on standard error what is waited for before PyTorch, or what stands on it, is imported."""
    if "torch" not in sys.modules:
        print("loading PyTorch …", file=sys.stderr, flush=True)


def run_command(work: Callable[[], None]) -> NoReturn:
    """Do a command's work and exit: 0 done, 2 a user's mistake, 130 interrupted; a failure keeps its traceback (1)."""
    try:
        work()
    except UserError as error:
        print_error(error)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # `… | head`: nobody reads the rest; Python's own last flush must not fail as well
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    sys.exit(0)
