"""What a person sees while a run trains."""

import io
import sys

import pytest

from fer_lightning.training.progress import WIDTH, EpochBar, epoch_head, epoch_line, forecast, stopping


def test_the_bar_gives_the_cursor_back_when_a_run_is_interrupted(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdout", Terminal())
    monkeypatch.setenv("TERM", "xterm")
    bar = EpochBar()
    bar.progress.start()
    assert "\x1b[?25l" in sys.stdout.getvalue()
    assert "\x1b[?25h" not in sys.stdout.getvalue()
    bar.on_exception(None, None, KeyboardInterrupt())
    assert "\x1b[?25h" in sys.stdout.getvalue()
    assert not bar.progress.live.is_started


def test_the_forecast_knows_that_larger_pictures_take_longer():
    text = forecast(10, [1, 1, 1], 4).replace("\n", " ")
    assert "10.0 s an epoch: the remaining 3 epochs end in about 0:00:30," in text
    text = forecast(10, [1, 2.25], 3).replace("\n", " ")
    assert "larger pictures longer: the remaining 2 epochs end in about 0:00:32," in text


@pytest.mark.parametrize("epochs", [3, 300, 1000])
def test_an_epoch_is_a_row_of_a_table_in_80_columns(epochs):
    row = {"epoch": epochs, "train_loss": 12.34567, "train_acc": 0.25, "val_loss": 1.75, "val_acc": 0.5, "lr": 0.001}
    line = epoch_line({**row, "seconds": 9999.94}, epochs, row)
    words = f"epoch {epochs}/{epochs} 12.3457 0.2500 1.7500 0.5000 1.00e-03 9999.9 0.5000 @ {epochs}"
    assert line.split() == words.split()
    assert len(line) <= 80
    head = epoch_head(epochs)
    for name, value in {"train loss": "12.3457", "val loss": "1.7500", "lr": "1.00e-03", "seconds": "9999.9"}.items():
        assert head.index(name) + len(name) == line.index(value) + len(value)
    assert max(map(len, forecast(1234.5, [1, 2] * 150, 301).splitlines())) <= 80


def test_what_is_said_fits_a_terminal():
    texts = [stopping([{"epoch": 1000, "val_acc": 0.5}] * 1000)]
    assert max(len(line) for text in texts for line in text.splitlines()) <= WIDTH
