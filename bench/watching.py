"""What it costs to watch a sweep of a thousand trials: processor and memory of `sweep watch`, while 64 trials run and the others wait.

    python bench/watching.py                    # 1,000 trials, 64 of them running, watched for a minute
    python bench/watching.py 1000 64 120

The trials sleep: each writes a line of progress every five seconds and nothing else. The command is one process, with the index and
MLflow as always; what it takes to begin (imports, the first reading of everything) is told apart from what it takes to go on. Seconds are
those of the processor (user and system), so that other work on the machine counts little.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))
BEGIN_SECONDS = 300.0
BEGIN_STEP_SECONDS = 15.0
QUIET = 0.03
"""It has begun when it uses less than this part of a core: MLflow is imported, and has its first runs."""
PROGRESS_SECONDS = 5.0


def main(trials: int, running: int, seconds: float) -> None:
    """Measure and print."""
    from core.workspace.claim import claim
    from core.workspace.journal import JournalWriter
    from core.workspace.layout import write_config
    from sweeps.launching import prepare
    from sweeps.planning import read

    with tempfile.TemporaryDirectory() as home:
        os.chdir(home)
        os.environ["XDG_CACHE_HOME"] = home
        definition = {
            "version": 1,
            "name": "many",
            "seeds": trials,
            "trial": {"backbone": "qwen2.5-vl-3b", "data": {"sources": {"generated_images": {}}}, "train": {"epochs": 1}},
        }
        Path("many.yaml").write_text(json.dumps(definition), encoding="utf-8")
        loaded = read("many.yaml", [], True)
        place, registered = prepare(loaded, Path("runs"), source="many.yaml", overrides=[], stale="keep", prune=False, canary=False)
        journals = []
        for number, planned in enumerate(registered.revision.plan()):
            if number < running:
                attempt = claim(place.trial(planned.id), 1, f"sleeper-{number}", {})
                write_config(place.trial(planned.id), dict(planned.config))
                assert attempt is not None
                journals.append(JournalWriter(attempt.journal))
                journals[-1].write("started", attempt=1, resumed=None)
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
        words = [sys.executable, "-m", "sweeps.cli.main", "watch", "many"]
        watch = subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            step, begun, before = 0, 0.0, -1.0
            until = time.monotonic() + BEGIN_SECONDS
            while begun - before > QUIET * BEGIN_STEP_SECONDS and time.monotonic() < until:
                before, step = begun, sleep(journals, step, BEGIN_STEP_SECONDS)
                begun = spent(watch.pid)
            sleep(journals, step, seconds)
            used = spent(watch.pid) - begun
            print(f"{trials} trials, {running} running: {begun:.1f} s of the processor to begin, then {used:.2f} s in {seconds:g} s")
            now, peak = memory(watch.pid, "VmRSS"), memory(watch.pid, "VmHWM")
            print(f"{100 * used / seconds:.2f} % of a core, {now:.0f} MB, {peak:.0f} MB at the peak")
        finally:
            watch.kill()
            watch.wait()


def sleep(journals: list[object], step: int, seconds: float) -> int:
    """Let the trials sleep for so long; returns their last step."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        step += 1
        for journal in journals:
            journal.write("progress", step=step, total=100_000, values={"loss": 0.5})  # type: ignore[attr-defined]
        time.sleep(PROGRESS_SECONDS)
    return step


def spent(pid: int) -> float:
    """Seconds of the processor that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(pid: int, line: str) -> float:
    """The memory that a process holds (``VmRSS``) or has held at most (``VmHWM``), MB."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    return next(int(found.split()[1]) for found in lines if found.startswith(line)) / 1024


if __name__ == "__main__":
    given = sys.argv[1:]
    main(*(int(word) for word in given[:2] or (1000, 64)), float(given[2]) if len(given) > 2 else 60.0)
