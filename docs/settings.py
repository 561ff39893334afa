"""Makes docs/settings.md of the comments in conf/: python docs/settings.py"""

import re
import textwrap
from collections import defaultdict
from pathlib import Path

CONF = Path(__file__).parents[1] / "conf"
KEY = re.compile(r"( *)(?:- override /)?(\w+):(?: +([^#\s].*?))?(?: +# (.*))?")  # indent, key, value, comment
ACROSS_GROUPS = ("experiment", "debug")  # their files change keys of other groups
HEAD = """# Settings

Made of the comments in [conf/](../conf) by `python docs/settings.py`: change them there.

On the command line `group=choice` picks a file of `conf/`, `group.key=value` changes one value; quote brackets:
`'aug.scale=[0.9,1.1]'`. `python -m fer_lightning --cfg job` prints all keys of a command, and the run's `config.yaml`
records what each `auto` became. A misspelt key or an impossible value is refused before any work, with the nearest one.
"""


def read(path: Path) -> tuple[str, str, list[tuple[str, str, str]]]:
    """The comment at a file's top, the file it builds on, and its keys with value and comment.

    A comment above a key is that key's, as one beside it is.
    """
    top: list[str] = []
    above: list[str] = []
    sections: list[str] = []
    keys: list[tuple[str, str, str]] = []
    builds_on = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.lstrip().startswith("#"):
            (above if sections else top).append(line.strip(" #"))
        elif match := KEY.fullmatch(line):
            indent, key, value, comment = match.groups(default="")
            sections = [*sections[: len(indent) // 2], key]
            if value:
                keys.append((".".join(sections).removeprefix("defaults."), value, " ".join([*above, comment]).strip()))
            above = []
        elif match := re.fullmatch(r"  - ([a-z]\w*)", line):
            builds_on = match[1]
    return " ".join(each for each in top if not each.startswith("@package")), builds_on, keys


def row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def group(name: str, default: str) -> list[str]:
    """A group's choices, and the values that they give each key; those that others build on stand first."""
    files = {path.stem: read(path) for path in sorted((CONF / name).glob("*.yaml"))}
    lines = ["", f"## {name}", ""]
    values = defaultdict(list)
    for choice in sorted(files, key=lambda each: (bool(files[each][1]), each != default)):
        about, builds_on, keys = files[choice]
        about = re.sub(r"\b(cost|score): ", r"*\1*: ", about)  # of recipes
        text = f"- `{name}={choice}`{' (default)' * (choice == default)}: {about}"
        if builds_on:
            text += f" Else as `{builds_on}`." if text.endswith(".") else f". Else as `{builds_on}`."
        lines += textwrap.wrap(text, 120, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
        for key, value, comment in keys:
            if not key.startswith("_") and key != "name":
                full = key if name in ACROSS_GROUPS else f"{name}.{key}"
                values[full].append(f"`{choice}` {value}" + f": {comment}" * bool(comment))
    if values:
        lines += ["", row("key", "value by choice"), row("---", "---")]
        lines += [row(f"`{key}`", "<br>".join(each)) for key, each in values.items()]
    return lines


def document() -> str:
    groups = re.findall(r"^  - (\w+): (\w+)", (CONF / "config.yaml").read_text(encoding="utf-8"), re.M)
    lines = [HEAD, "## Of every run", "", row("key", "default", ""), row("---", "---", "---")]
    for key, value, comment in read(CONF / "config.yaml")[2]:
        if not key.startswith("hydra."):
            lines.append(row(f"`{key}`", value, comment))
    for name, default in groups:
        lines += group(name, default)
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    Path(__file__).with_suffix(".md").write_text(document(), encoding="utf-8")
