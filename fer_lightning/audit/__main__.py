"""What is wrong with a copy of FER2013, before anyone trains on it: python -m fer_lightning.audit PATH [--out DIR]

Prints a table and writes audit.json (all groups, with all their images) and audit.html (the worst of them, to look at).
"""

from pathlib import Path

from fer_lightning.errors import command_parser, run_command
from fer_lightning.results.paths import expanded


def main() -> None:
    """The command: exit status 0 done, whatever it found; 1 failed, 2 nothing to audit, 130 interrupted."""
    parser = command_parser(
        "audit", "What is wrong with a copy of FER2013: counts, duplicates, conflicting labels, constant images."
    )
    parser.add_argument("path", metavar="PATH", help="file or folder of FER2013, in any form that training reads")
    parser.add_argument("--out", metavar="DIR", type=expanded, default="audit", help="for the results (./audit)")
    run_command(lambda: audit(**vars(parser.parse_args())))


def audit(path: str, out: Path) -> None:
    """Audit the copy at `path`, print what is wrong and write audit.json and audit.html into the folder `out`.

    Those of an earlier audit are replaced, each in one step. UserError where `path` or `out` cannot be used.
    """
    from fer_lightning.audit import findings, page
    from fer_lightning.audit.search import examine, seconds
    from fer_lightning.data import fer2013
    from fer_lightning.results.files import make_folder, write_file, write_json

    faces = fer2013.load(path)
    make_folder(out)
    if (expected := seconds(len(faces))) > 1:
        time = f"{expected:.0f} s" if expected < 60 else f"{expected / 60:.0f} minutes"
        print(f"Comparing {len(faces):,} images with each other: about {time}", flush=True)
    found = examine(faces)
    content = findings.to_json(found)
    write_json(out / "audit.json", content)
    write_file(out / "audit.html", page.to_html(faces, content).encode())
    text = f"{findings.to_text(content)}\n\nThe faces: {out / 'audit.html'}\nAll groups: {out / 'audit.json'}"
    print(text)


if __name__ == "__main__":
    main()
