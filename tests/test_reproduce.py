"""bench/reproduce.py: stages that are cut off go on, end, and leave weights and a summary behind."""

import json
from pathlib import Path

import pytest

from bench import reproduce
from fer_lightning.inference import load
from fer_lightning.runs import read_run

TINY = ("data=synthetic", "trainer=cpu", "model=dnn", "model.widths=[8,8]", "trainer.max_epochs=2", "logger=none")


def stages(work: Path) -> dict[str, list[reproduce.Run]]:
    """The stages' form, one tiny run in each."""
    return {
        "best_cnn": reproduce.runs("best_cnn", range(1), *TINY, reproduce.SPLIT),
        "distilled": reproduce.runs(
            "distilled_cnn", range(1), *TINY, reproduce.SPLIT, f"distill.teachers=[{work}/best_cnn-seed0]"
        ),
    }


@pytest.mark.slow
def test_stages_go_on_call_by_call_until_all_are_finished(tmp_path, monkeypatch, capsys):
    work, out = tmp_path / "work", tmp_path / "out"
    monkeypatch.setattr(reproduce, "stages", stages)
    monkeypatch.setattr(
        reproduce,
        "evaluations",
        lambda stage, work: (
            {f"{stage}-tta": [str(work / f"{stage}_cnn-seed0"), "--tta"]} if stage == "distilled" else {}
        ),
    )
    monkeypatch.setattr("sys.argv", ["reproduce", "--work", str(work), "--out", str(out), "--jobs", "2"])
    assert reproduce.main() == 75
    assert read_run(work / "best_cnn-seed0").metrics["completed"]
    assert "stage best_cnn, then distilled" in capsys.readouterr().out
    assert reproduce.main() == 0
    assert reproduce.main() == 0
    assert "all stages are finished" in capsys.readouterr().out

    for stage in ("best_cnn", "distilled"):
        assert (out / stage / "summary.md").read_text().startswith(f"# Stage {stage}: 1 runs finished")
    written = json.loads((out / "distilled" / "metrics.json").read_text())
    assert written["runs"]["distilled_cnn-seed0"]["epochs"] == 2
    assert written["evaluations"]["distilled-tta"]["tta"]
    weights = load(out / "distilled" / "distilled_cnn-seed0.safetensors")
    assert weights.data["seed"] == 0


def test_a_run_that_fails_is_named_with_the_end_of_what_it_said(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(reproduce, "stages", lambda work: {"best_cnn": reproduce.runs("a", range(1), "model=nope")})
    monkeypatch.setattr("sys.argv", ["reproduce", "--work", str(tmp_path / "w"), "--out", str(tmp_path / "o")])
    assert reproduce.main() == 1
    assert "model=nope: there is no such choice" in capsys.readouterr().err


def test_without_fer2013_nothing_is_trained_in_its_place(tmp_path, monkeypatch, capsys):
    settings = [setting for setting in TINY if not setting.startswith("data=")]
    monkeypatch.setattr(reproduce, "stages", lambda work: {"best_cnn": reproduce.runs("a", range(1), *settings)})
    monkeypatch.setattr("sys.argv", ["reproduce", "--work", str(tmp_path / "w"), "--out", str(tmp_path / "o")])
    monkeypatch.chdir(tmp_path)
    assert reproduce.main() == 1
    assert "no FER2013 found" in capsys.readouterr().err
