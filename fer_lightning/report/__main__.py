"""Runs and sweeps as one page that answers the study's questions: python -m fer_lightning.report PATH… [--out FILE]"""

import argparse
import hashlib
import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from fer_lightning import __version__
from fer_lightning.errors import UserError, run_command
from fer_lightning.results.files import write_file

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fer_lightning.report.blocks import Block

MARKER = "made by fer_lightning.report"
PICTURE = r"(?:chart|faces)-\d+\.(?:svg|png)"  # what a report calls its pictures
# The end of a Markdown report: the pictures that it wrote, with digests, so that the next one knows them for its own
LISTING = "<!-- pictures of this report and the first digits of their SHA-256:"


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m fer_lightning.report",
        description="Answer the study's questions from runs, as one page or as Markdown with its pictures.",
    )
    parser.add_argument("paths", nargs="+", metavar="PATH", help="folders of runs, of sweeps, or of both")
    parser.add_argument(
        "--out",
        default="report.html",
        metavar="FILE",
        help="FILE.html, the page, or FILE.md with its pictures in FILE_files/; an earlier report is replaced "
        "(default: %(default)s)",
    )
    parser.add_argument("--version", action="version", version=f"fer_lightning {__version__}")
    arguments = parser.parse_args()
    run_command(lambda: work(arguments.paths, Path(arguments.out)))


def work(paths: "Sequence[str]", out: Path) -> None:
    """Write the report of the runs at or below `paths` to `out`. UserError where that cannot be."""
    check_out(out)
    from fer_lightning.report import answers, archive, findings  # pandas and matplotlib, so not before they are wanted

    command = shlex.join(["python", "-m", "fer_lightning.report", *paths, "--out", str(out)])
    study = findings.read(paths)
    print(f"drawing {len(study.runs)} runs …", file=sys.stderr, flush=True)  # a large study takes seconds
    blocks = answers.report(study, archive.Archive(), command)
    try:
        write(blocks, out)
    except OSError as error:
        raise UserError(f"--out {out}: it cannot be written: {error.strerror}") from None
    runs = len(study.runs)
    lines = [f"{out}: {runs} run{'' if runs == 1 else 's'} reported, {len(study.left_out)} left out"]
    lines += [f"  left out: {name}: {cause}" for name, cause in study.left_out]
    print("\n".join(lines).encode(errors="backslashreplace").decode())  # names of folders need not be text


def check_out(out: Path) -> None:
    """UserError unless a report can be written there: what an earlier one wrote is replaced, nothing else ever."""
    if out.suffix not in (".html", ".md"):
        raise UserError(f"--out {out}: the name must end in .html or .md")
    if not out.parent.is_dir():
        raise UserError(f"--out {out}: there is no folder {out.parent}")
    if out.is_dir():
        raise UserError(f"--out {out}: it is a folder; a file is wanted")
    if out.exists() and f"<!-- {MARKER} -->" not in out.read_text(encoding="utf-8", errors="replace"):
        raise UserError(f"--out {out}: it exists and is no report, so it is not overwritten; name another file")
    folder = pictures_folder(out)
    if out.suffix == ".html" or not folder.exists():
        return
    if not folder.is_dir():
        raise UserError(f"--out {out}: the pictures go into the folder {folder}, but that is a file")
    own = own_pictures(out)
    for path in sorted(folder.iterdir()):
        if re.fullmatch(PICTURE, path.name) and (not path.is_file() or own.get(path.name) != digest(path.read_bytes())):
            raise UserError(
                f"--out {out}: no report there wrote {path}, so it is not overwritten; move it, or name another file"
            )


def pictures_folder(out: Path) -> Path:
    return out.with_name(f"{out.stem}_files")


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def own_pictures(out: Path) -> dict[str, str]:
    """The pictures that the report at `out` wrote, by name, with their digests; none where there is no report."""
    if not out.exists():
        return {}
    _, found, listed = out.read_text(encoding="utf-8", errors="replace").rpartition(LISTING)
    return dict(re.findall(rf"(?m)^({PICTURE}) ([0-9a-f]{{16}})$", listed)) if found else {}


def write(blocks: "Sequence[Block]", out: Path) -> None:
    from fer_lightning.report import html, markdown

    if out.suffix == ".html":
        write_file(out, html.render(blocks, MARKER).encode())
        return
    folder, earlier = pictures_folder(out), own_pictures(out)
    text, pictures = markdown.render(blocks, folder.name, MARKER)
    listed = [f"{name} {digest(content)}" for name, content in pictures.items()]
    folder.mkdir(exist_ok=True)
    for name, content in pictures.items():
        write_file(folder / name, content)
    write_file(out, "\n".join([text, LISTING, *listed, "-->\n"]).encode())
    for name in earlier.keys() - pictures.keys():
        (folder / name).unlink(missing_ok=True)


if __name__ == "__main__":
    main()
