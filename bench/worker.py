"""A contestant as a process of its own, which works when a line comes and sleeps until the next one.

So the contestants of a ratio can take turns, a few seconds each: on a shared machine speed drifts over minutes, and
what is measured one after the other says as much about the neighbours as about the programs.
"""

import importlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
Answer = dict[str, Any]


class Channel:
    """The worker's end: `wait` for a line, `answer` with figures. Whatever else is printed goes to stderr."""

    def __init__(self) -> None:
        self.out = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)

    def wait(self) -> None:
        """Until the next line; ends the process, from wherever it is, when no more will come."""
        if not sys.stdin.readline():
            sys.stderr.flush()
            os._exit(0)

    def answer(self, **figures: Any) -> None:
        self.out.write(json.dumps(figures) + "\n")
        self.out.flush()

    def serve(self, work: Callable[[], Answer], **ready: Any) -> None:
        """Say that it is ready, then answer every line with what `work` measures."""
        self.answer(**ready)
        while True:
            self.wait()
            self.answer(**work())


class Worker:
    """The bench's end. task: `module:function` of this package, called as function(channel, **options)."""

    def __init__(self, task: str, environment: dict[str, str] | None = None, **options: Any) -> None:
        self.task = task
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 – until close
        self.process = subprocess.Popen(
            [sys.executable, "-m", "bench.worker", task, json.dumps(options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            cwd=ROOT,
            env={**os.environ, **(environment or {})},
        )

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def read(self) -> Answer:
        """Its next answer; RuntimeError with what it said where it died."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            self.errors.seek(0)
            raise RuntimeError(f"{self.task} ended with {self.process.returncode}:\n{self.errors.read()[-4000:]}")
        return json.loads(line)

    def ask(self) -> Answer:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self.read()

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        try:
            self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.errors.close()


def measure(task: str, environment: dict[str, str] | None = None, **options: Any) -> Answer:
    """One measurement in a fresh process, which has imported what it needs before it starts."""
    with Worker(task, environment, **options) as worker:
        return worker.read()


def main() -> None:
    channel = Channel()
    module, _, function = sys.argv[1].partition(":")
    getattr(importlib.import_module(f"bench.{module}"), function)(channel, **json.loads(sys.argv[2]))


if __name__ == "__main__":
    main()
