"""What a user is told in one message, as opposed to a failure of ours; how a command begins and ends."""

import argparse
import errno
import io
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

from fer_lightning import __version__

if TYPE_CHECKING:
    from rich.progress import Progress

SPACE = "; free some space, then go on"
OF_THE_DISK = {  # with what is done then
    errno.ENOSPC: SPACE,
    errno.EDQUOT: SPACE,
    errno.EFBIG: "; raise the limit (`ulimit -f`), then go on",
    errno.EROFS: "; name a folder that can be written",
    errno.EACCES: "",
    errno.EPERM: "",
    errno.EIO: "",
    errno.ESTALE: "",
    errno.ENAMETOOLONG: "; take a shorter one",
}
# What ends a command like Ctrl-C: a kill, a lost terminal (not under nohup), SLURM's warning, a limit on CPU seconds
ENDING = ("SIGTERM", "SIGHUP", "SIGUSR1", "SIGXCPU")


class UserError(Exception):
    """Bad input or configuration.

    Its message is all that the user sees: it names the file or key, the line and column where there is one, what is
    wrong and what would be right. Commands print it without a traceback and exit with `status`.
    """

    status = 2


class Failure(UserError):
    """Work that could not be done, though nothing was wrong beforehand: a full disk, a training that diverged.

    It is told like a mistake, in one message.
    """

    status = 1


def command_parser(name: str, description: str, epilog: str | None = None) -> argparse.ArgumentParser:
    """The parser of `python -m fer_lightning.NAME`, with --version. The texts are shown as they are."""
    parser = argparse.ArgumentParser(
        prog=f"python -m fer_lightning.{name}",
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"fer_lightning {__version__}")
    return parser


def told(error: BaseException, name: object = None) -> UserError | None:
    """What a user is told of an exception in one message; None where it is a failure of ours.

    name: the file that could not be written, where the exception may know none.
    """
    if isinstance(error, OSError) and (name or error.errno in OF_THE_DISK):
        remedy = OF_THE_DISK.get(error.errno or 0, "")
        what = f"{name}: it cannot be written" if name else error.filename
        what = what or "Hydra's record of the command (.hydra) or TensorBoard's events"
        kind = UserError if error.errno == errno.ENAMETOOLONG else Failure
        return kind(f"{what}: {error.strerror or error}{remedy}")
    if isinstance(error, UnicodeEncodeError):
        where = printable(error.object[max(0, error.start - 40) : error.end + 20])
        return UserError(
            f"…{where}…: this name is not in UTF-8, or the locale is not (LC_ALL=C.UTF-8); take another one"
        )
    return error if isinstance(error, UserError) else None


def print_error(error: BaseException) -> None:
    """Print a user's mistake, and nothing else of it, to standard error."""
    print(f"fer_lightning: {error}", file=sys.stderr)


def printable(text: str) -> str:
    """Without what would move the cursor or colour a terminal, and without bytes of a file's name that are no UTF-8."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def say_loading() -> None:
    """Tell on standard error what is waited for before PyTorch, or what stands on it, is imported."""
    if "torch" not in sys.modules:
        print("loading PyTorch …", file=sys.stderr, flush=True)


@contextmanager
def progress() -> Iterator["Progress"]:
    """For bars on standard error, where that is a terminal; lines printed meanwhile go above them."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    both = sys.stdout.isatty()  # else what goes into a pipe would be shown above the bar instead
    with Progress(console=console, transient=True, disable=not sys.stderr.isatty(), redirect_stdout=both) as bar:
        yield bar


class Output(io.FileIO):
    """Standard output or error of which a reader may go away (`… | head`), or whose disk may be full.

    What is printed from then on is lost, the work is not. Only a lost reader goes without saying.
    """

    lost = False

    def write(self, text: Any) -> int:
        try:
            return super().write(text)
        except OSError as error:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.fileno())  # also for what prints without Python
            if error.errno != errno.EPIPE and self.fileno() == 1:
                self.lost = True
                print_error(Exception(f"what is printed is lost from here on: {error.strerror}; the work goes on"))
            return len(text)


def keep_output() -> list[Output]:
    """Let no print end a command: see `Output`; letters that an encoding lacks are written as `\\u2026`.

    A closed standard output (`>&-`) is none: the next file opened would otherwise take its place, and be printed into.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free: this one
    kept = []
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream = getattr(sys, name)
        if stream is not getattr(sys, f"__{name}__") or (os.name == "nt" and stream is not None and stream.isatty()):
            continue  # somebody listens, a test or a notebook; Windows' console takes letters by a way of its own
        kept.append(Output(number, "wb", closefd=False))
        encoding, lines = "utf-8", False
        if stream is not None:
            stream.flush()
            encoding, lines = stream.encoding, stream.line_buffering or stream.write_through
        new = io.TextIOWrapper(io.BufferedWriter(kept[-1]), encoding, "backslashreplace", line_buffering=lines)
        setattr(sys, name, new)
    return kept


def _in_thread(failed: threading.ExceptHookArgs) -> None:
    """What TensorBoard's thread cannot write, the next call of it raises again: it is told once."""
    if failed.exc_value is None or told(failed.exc_value) is None:
        threading.__excepthook__(failed)


def _interrupt(number: int, _: object) -> NoReturn:
    signal.signal(number, signal.SIG_IGN)  # a terminal's end is told twice, of CPU seconds each one
    raise KeyboardInterrupt


def run_command(work: Callable[[], None]) -> NoReturn:
    """Do a command's work and exit: 0 done, 1 failed, 2 a user's mistake, 130 interrupted.

    A failure of ours keeps its traceback. Where output was lost on a full disk, the status is 1 though all is done.
    """
    kept = keep_output()
    threading.excepthook = _in_thread
    ending = [getattr(signal, name) for name in ENDING if hasattr(signal, name)]  # Windows has few of them
    ending = [number for number in ending if signal.getsignal(number) == signal.SIG_DFL]
    for number in ending:
        signal.signal(number, _interrupt)
    try:
        try:
            os.getcwd()
        except OSError:
            raise UserError("the current folder is no longer there; change into one that is") from None
        work()
        status: object = 0
    except SystemExit as end:
        status = end.code
    except KeyboardInterrupt:
        status = 130
    except Exception as error:
        if (message := told(error)) is None:
            raise
        print_error(message)
        status = message.status
    finally:
        for number in ending:
            signal.signal(number, signal.SIG_DFL)
    sys.stdout.flush()
    sys.exit(status or any(each.lost for each in kept))  # type: ignore[arg-type]
