"""Which of a run's processes checks, writes and prints."""

import pytest

from fer_lightning.training.processes import RANKS, is_first_process


@pytest.mark.parametrize(
    ("environment", "first"),
    [
        ({}, True),
        ({"LOCAL_RANK": "0"}, True),
        ({"LOCAL_RANK": "1"}, False),
        ({"SLURM_PROCID": "0"}, True),
        ({"SLURM_PROCID": "1"}, False),
        ({"RANK": "2", "LOCAL_RANK": "0"}, False),  # the first process of another machine
    ],
)
def test_one_process_of_all_is_the_first(monkeypatch, environment, first):
    for name in RANKS:
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert is_first_process() == first
