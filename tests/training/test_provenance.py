"""What metrics.json says of where a run was made."""

import os
import subprocess

from fer_lightning.training.provenance import commit


def test_a_checkout_is_named_by_its_commit_and_whether_code_differs_from_it(tmp_path, monkeypatch):
    for name in [name for name in os.environ if name.startswith("GIT_")]:  # of a hook: another repository's
        monkeypatch.delenv(name)
    assert commit(tmp_path) is None
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "config.yaml").write_text("seed: 0")
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "first"]):
        subprocess.run([*git, *arguments], check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    assert commit(tmp_path) == head
    (tmp_path / "outputs").mkdir()
    (tmp_path / "outputs" / "run").write_text("no code")
    assert commit(tmp_path) == head
    (tmp_path / "conf" / "config.yaml").write_text("seed: 1")
    assert commit(tmp_path) == f"{head}+changes"
