"""Who makes passes over a sweep that nobody watches: one at a time, not one from each worker, and one more by each that leaves."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from core.run.passing import Passes


@dataclass
class Pass:
    """Starts passes that touch the mark, each ``seconds`` long."""

    mark: Path
    seconds: float = 0.0
    now: float = 0.0
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self) -> subprocess.Popen[bytes]:
        code = f"import os, time; time.sleep({self.seconds}); open({str(self.mark)!r}, 'a').close(); os.utime({str(self.mark)!r})"
        self.started.append(subprocess.Popen([sys.executable, "-c", code]))
        return self.started[-1]

    def passes(self) -> Passes:
        return Passes(self.start, self.mark, lambda: self.now)

    def ended(self) -> int:
        for process in self.started:
            process.wait(30)
        return len(self.started)


@pytest.fixture
def made(tmp_path: Path) -> Pass:
    return Pass(tmp_path / "passed")


def test_one_pass_a_minute_and_one_at_a_time(made: Pass) -> None:
    passes = made.passes()
    passes.make(60.0)
    assert not made.started, "the worker has just begun"
    for now in (61.0, 62.0, 100.0):
        made.now = now
        passes.make(60.0)
        assert made.ended() == 1
    made.now = 122.0
    passes.make(60.0)
    assert made.ended() == 2, "the mark of its own pass is not taken for another's"


def test_a_pass_that_lasts_is_not_doubled(made: Pass) -> None:
    made.seconds, passes = 60.0, made.passes()
    for now in (61.0, 130.0):
        made.now = now
        passes.make(60.0)
    assert len(made.started) == 1
    made.started[0].kill()
    made.ended()


def test_another_workers_pass_counts(made: Pass) -> None:
    passes = made.passes()
    made.mark.touch()
    made.now = 61.0
    passes.make(60.0)
    assert not made.started
    made.now = 122.0
    passes.make(60.0)
    assert made.ended() == 1, "nobody has made one since"


def test_the_last_pass_is_made_at_once_and_waited_for(made: Pass) -> None:
    passes = made.passes()
    made.now = 61.0
    passes.make(60.0)
    made.seconds = 0.3
    passes.last()
    assert len(made.started) == 2 and made.started[-1].poll() == 0


def test_the_last_pass_is_not_waited_for_without_end(made: Pass) -> None:
    made.seconds = 60.0
    made.passes().last(0.2)
    assert made.started[0].poll() is None
    made.started[0].kill()
    made.ended()


def test_without_passes_there_is_no_last_one(made: Pass) -> None:
    Passes(None, made.mark).last()
    Passes(None, made.mark).make(0.0)
