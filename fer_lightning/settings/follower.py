"""`Follower`: what a person sees of a sweep whose jobs other processes do."""

import re
import threading
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from fer_lightning.results.paths import in_order

HEAD = re.compile(r"^\[[^]]*\]\[[^]]*\]\[\w+\] - ")  # of a line in Hydra's log: time, module, level
POLLED_EVERY = 0.5  # seconds
ENDED = re.compile(r'"(completed|interrupted)": true|"error": "')  # in the metrics.json of a job


class Follower:
    """Prints the lines that the jobs of a sweep log, each after the job's folder's name, above one bar for the sweep.

    sweep: the folder. jobs: how many there are, None where nobody knows. done: how many were complete before.
    """

    def __init__(self, sweep: Path, jobs: int | None, done: int) -> None:
        self.sweep, self.done = sweep, done
        self.read = {path: path.stat().st_size for path in self.logs()}
        self.parts: dict[Path, str] = {}  # of lines that are not whole yet
        self.before = {path: path.read_text() for path in sweep.glob("*/metrics.json")}
        self.console = Console(highlight=False, markup=False)
        columns = (TextColumn("sweep"), BarColumn(), MofNCompleteColumn(), TextColumn("jobs"), TimeElapsedColumn())
        self.bar = Progress(*columns, console=self.console, transient=True, disable=not self.console.is_terminal)
        self.task = self.bar.add_task("", total=jobs, completed=done)
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.follow, name="follower", daemon=True)

    def __enter__(self) -> "Follower":
        self.bar.start()
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self.thread.join()
        self.tell()
        self.bar.stop()

    def logs(self) -> list[Path]:
        return sorted(self.sweep.glob("*/*.log"), key=in_order)

    def follow(self) -> None:
        while not self.ended.wait(POLLED_EVERY):
            self.tell()

    def tell(self) -> None:
        for path in self.logs():
            with open(path, encoding="utf-8", errors="replace") as file:
                file.seek(self.read.get(path, 0))
                text = self.parts.pop(path, "") + file.read()
                self.read[path] = file.tell()
            *lines, self.parts[path] = text.split("\n")
            for line in lines:
                self.console.print(f"{path.parent.name}: {HEAD.sub('', line)}".rstrip(), soft_wrap=True)
        now = {path: path.read_text() for path in self.sweep.glob("*/metrics.json")}
        ended = sum(bool(ENDED.search(text)) and text != self.before.get(path) for path, text in now.items())
        self.bar.update(self.task, completed=self.done + ended)
