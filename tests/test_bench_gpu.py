"""The stages of bench/gpu.sh, tried on the CPU with tiny networks: what they write, and that they go on."""

import json
import os
import tarfile
from pathlib import Path

import pytest

from bench import gpu

TINY = ["model=dnn", "model.widths=[8,8]", "data.batch_size=64", "trainer.precision=32-true"]


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """`stage("speed", …)` is `python -m bench.gpu speed …` on the CPU; the record it archived."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    def call(name: str, *options: str) -> dict:
        folders = ["--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "out")]
        monkeypatch.setattr("sys.argv", ["gpu", name, *TINY, "--device", "cpu", *folders, *options])
        gpu.main()
        with tarfile.open(tmp_path / "out" / f"{name}.tar.gz") as packed:
            assert not [member for member in packed.getnames() if member.endswith(".ckpt")]
            record = packed.extractfile(f"{name}.json")
            assert record is not None
            return json.load(record)

    return call


def test_what_spans_cover_together():
    assert gpu.union([(0, 2), (1, 3), (5, 6), (5.5, 5.75)]) == 4
    assert gpu.union([]) == 0


def test_published_goes_on_where_it_was_cut_off(stage, tmp_path):
    first = stage("published", "--epochs", "1", "--seeds", "0")
    assert first["figures"]["metrics"][0]["completed"]
    metrics = tmp_path / "runs" / "published" / "published-0" / "metrics.json"
    metrics.unlink()  # as if the call had been killed, 1,000 seconds after its start and 100 after its last checkpoint
    record, last = metrics.with_name("wall.json"), metrics.parent / "checkpoints" / "last.ckpt"
    ((start, _),) = json.loads(record.read_text())
    record.write_text(json.dumps([[start, None]]))
    os.utime(last, (start + 900, start + 900))
    again = stage("published", "--epochs", "2", "--seeds", "0")
    assert again["figures"]["metrics"][0]["epochs"] == 2
    assert 900 < again["figures"]["walls"][0] < 1000
    before = metrics.read_bytes()
    stage("published", "--epochs", "2", "--seeds", "0")
    assert metrics.read_bytes() == before


def test_speed_is_told_beside_the_baseline(stage):
    record = stage("speed", "--images", "64", "--pairs", "2", "--loaders", "0")
    what = [line["what"] for line in record["lines"]]
    assert what == ["CNN epoch", "CNN epoch: baseline / ours", "CNN epoch: GPU busy"]
    assert all(value > 0 for value in record["lines"][1]["values"])
    assert record["figures"]["profile"]["seconds"] > 0
    assert record["figures"]["profile"]["busy"] == 0  # there is no GPU
