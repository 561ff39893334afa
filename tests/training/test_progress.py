"""What a person sees while a run trains."""

import io
import sys

from fer_lightning.training.progress import EpochBar, forecast


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
    assert "10.0 s an epoch: the remaining 3 epochs end in about 0:00:30," in forecast(10, [1, 1, 1], 4)
    assert "larger pictures longer: the remaining 2 epochs end in about 0:00:32," in forecast(10, [1, 2.25], 3)
