"""Runs and sweeps as one page that answers the study's questions: python -m fer_lightning.report PATH… [--out FILE]"""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from fer_lightning.errors import command_parser, run_command
from fer_lightning.results.files import check_out, write_file
from fer_lightning.results.paths import expanded
from fer_lightning.results.words import count

MARKER = "<!-- made by fer_lightning.report -->"  # how the next report knows an earlier one


def main() -> None:
    parser = command_parser("report", "Answer the study's questions from runs, as one HTML page.")
    parser.add_argument("paths", nargs="+", metavar="PATH", help="folders of runs, of sweeps, or of both")
    parser.add_argument(
        "--out",
        type=expanded,
        default="report.html",
        metavar="FILE",
        help="the page, FILE.html; an earlier report is replaced (default: %(default)s)",
    )
    run_command(lambda: work(**vars(parser.parse_args())))


def work(paths: Sequence[str], out: Path) -> None:
    """Write the report of the runs at or below `paths` to `out`. UserError where that cannot be."""
    check_out(out, (".html",), MARKER, "report")
    from fer_lightning.report import page, study  # pandas and matplotlib, so not before they are wanted

    command = shlex.join(["python", "-m", "fer_lightning.report", *paths, "--out", str(out)])
    found = study.read(paths)
    print(f"drawing {len(found.runs)} runs …", file=sys.stderr, flush=True)  # a large study takes seconds
    write_file(out, page.render(found, command, MARKER).encode())
    print(f"{out}: {count(len(found.runs), 'run')} reported, {len(found.left_out)} left out")
    for name, cause in found.left_out:
        print(f"  left out: {name}: {cause}")


if __name__ == "__main__":
    main()
