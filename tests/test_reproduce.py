"""bench/reproduce.py: stages that are cut off go on, end, and leave weights and a summary behind."""

import json
import time
from pathlib import Path

import pytest

from bench import reproduce
from fer_lightning.config import check
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


@pytest.mark.parametrize("stage", reproduce.stages(Path("work")))
def test_the_stages_settings_exist_and_what_they_name_is_theirs(stage, composed):
    every = reproduce.stages(Path("work"))
    runs = {str(Path("work") / run.name) for group in every.values() for run in group}
    for run in every[stage]:
        teachers = composed(*run.settings).distill.teachers
        assert set(teachers) <= runs
        check(composed(*run.settings, "data=synthetic", "trainer=cpu", "distill.teachers=[]"))
    for arguments in reproduce.evaluations(stage, Path("work")).values():
        assert {argument for argument in arguments if not argument.startswith("--")} <= runs
    assert len(every[stage]) + 2 <= 8 or stage == "ablation"  # files that come back: weights, metrics.json, summary.md


@pytest.mark.slow
def test_a_run_that_is_cut_off_goes_on_as_if_it_had_not_been(tmp_path):
    settings = (*TINY, "model.widths=[64,64]", "trainer.max_epochs=20", "trainer.precision=32-true")
    parts, whole = reproduce.runs("parts", range(1), *settings), reproduce.runs("whole", range(1), *settings)
    rows = tmp_path / "parts-seed0" / "metrics.csv"

    class Soon(float):
        """A time that comes when the run has two epochs behind it."""

        def __le__(self, now):  # `now >= end`, the other way round
            return rows.is_file() and rows.read_text().count("\n") > 2

        def __gt__(self, now):
            return not self <= now

    assert reproduce.train(parts, tmp_path, [], 1, Soon()) == []
    assert not reproduce.metrics_of(tmp_path / "parts-seed0")["completed"]
    assert reproduce.train(parts, tmp_path, [], 1, time.monotonic() + 600) == []
    assert reproduce.train(whole, tmp_path, [], 1, time.monotonic() + 600) == []
    cut, uncut = (read_run(tmp_path / f"{name}-seed0") for name in ("parts", "whole"))
    assert cut.metrics["completed"]
    columns = ["epoch", "train_loss", "val_loss", "val_acc"]
    assert cut.epochs[columns].equals(uncut.epochs[columns])


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
