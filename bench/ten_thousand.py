"""Ten thousand trials to their end on a cluster with ``MaxArraySize`` 1001, and what looking at them costs.

    python bench/ten_thousand.py              # 10,000 trials, 1,200 workers
    python bench/ten_thousand.py 1000 200

The decisions, the submission, the polls and all files of the workspace are real; SLURM is the one of the tests (in this process, with a
clock that is wound forward), and a trial is a claim, a journal of three lines and a published result instead of training. A tool that
submits a job for each trial cannot queue ten thousand here: SLURM refuses the array, and a loop of single jobs is refused by most sites'
limit. Halfway `sweep status --json` is run from cold, as a command in a process of its own with an ``squeue`` of the test: once where
nothing was looked at before, and once after 100 more trials have ended. Seconds are of this machine, wall-clock and of the processor
(user and system: on a shared machine look at these).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "tests" / "slurm")]
TRIAL_SECONDS = 300.0
CHANGES = 100


def main(trials: int, workers: int) -> None:
    """Run and print."""
    import pytest

    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        os.chdir(folder)
        measure(Path(folder), patch, trials, workers)


def measure(folder: Path, patch: object, trials: int, workers: int) -> None:
    from fake_slurm import FakeSlurm, Task

    from core.control.decide import Finish
    from core.control.tick import SweepReader, tick
    from core.data import data_fingerprint
    from core.definition import load
    from core.definition.plan import PlannedTrial
    from core.definition.trial import TrialConfig
    from core.workspace import fingerprints, process
    from core.workspace.claim import claim
    from core.workspace.files import publish_folder
    from core.workspace.journal import JournalWriter
    from slurm.cluster import SlurmSubmitter
    from slurm.polling import SQUEUE, SlurmScheduler
    from slurm.profile import Cluster, Profile
    from sweeps.launching import prepare

    definition = {
        "version": 1,
        "name": "many",
        "seeds": trials,
        "trial": {"backbone": "qwen2.5-vl-3b", "data": {"sources": {"generated_images": {}}}, "train": {"epochs": 1}},
    }
    (folder / "many.yaml").write_text(json.dumps(definition), encoding="utf-8")
    began = time.monotonic()
    loaded = load(folder / "many.yaml", rehearsal=True)
    place, registered = prepare(loaded, folder / "runs", source="many.yaml", overrides=[], stale="keep", prune=False, canary=False)
    print(f"registered {trials} trials in {time.monotonic() - began:.1f} s", flush=True)
    waiting: Iterator[PlannedTrial] = registered.revision.plan()
    config = TrialConfig.model_validate(dict(next(registered.revision.plan()).config))
    prints = {"code": fingerprints.code_fingerprint(), "data": data_fingerprint(config)}

    def make(planned: PlannedTrial, worker: str) -> None:
        """What an attempt leaves behind."""
        trial = place.trial(planned.id)
        attempt = claim(trial, 1, f"{worker}-{planned.id[:8]}", {"job": worker, "restart": 0})
        assert attempt is not None
        journal = JournalWriter(attempt.journal)
        journal.write("started", attempt=1, resumed=None)
        journal.write("metrics", group="train", step=1, values={"loss": 0.5})
        record = {"v": 1, "metrics": {"train/loss": 0.5}, "attempt": 1, "steps": 1, "fingerprints": prints, "flags": []}
        publish_folder(trial.result, attempt.folder / ".result", lambda at: _write(at / "metrics.json", record), {"attempt": 1})
        journal.write("ended", state="completed")
        journal.close()

    def work(task: Task) -> Iterator[float]:
        """A worker: one trial after another, until none is left or it is warned."""
        orders = Path(task.command.split()[-1])
        key = json.loads((orders / "array.json").read_text())["tasks"][task.index]
        _write(place.jobs / key / "worker.json", {**process.identity(), "host": task.node, "job_id": task.id, "restart": 0})
        done = 0
        for planned in waiting:
            make(planned, key)
            done += 1
            yield TRIAL_SECONDS
            if task.signals:
                break
        _write(place.jobs / key / "left.json", {"reason": "nothing left to claim", "done": done})

    slurm = FakeSlurm(folder, patch, work, nodes={"node1": workers})  # type: ignore[arg-type]
    profile = Profile.model_validate({"kind": "slurm", "limits": {"workers": workers}})
    submitter = SlurmSubmitter(place, Cluster("fake", profile), "nowhere:main", ask=slurm.ask, clock=slurm.clock)
    reader = SweepReader(place, registered.revision, SlurmScheduler(12, ask=slurm.ask, clock=slurm.clock))
    passes: list[float] = []
    looked = False
    began, first = time.monotonic(), slurm.now
    while True:
        start = time.monotonic()
        result = tick(reader, submitter)
        passes.append(time.monotonic() - start)
        if any(isinstance(action, Finish) for action in result.actions):
            break
        if not looked and result.state.counts().get("completed", 0) >= trials // 2:
            looked, start = True, time.monotonic()
            status(folder, slurm.ask(SQUEUE).out, "from files alone")
            for planned in islice(waiting, CHANGES):
                make(planned, slurm.tasks[0].name.rpartition("-")[0])
            status(folder, slurm.ask(SQUEUE).out, f"{CHANGES} changes later")
            began += time.monotonic() - start
        slurm.advance(60)
    arrays = Counter(task.array for task in slurm.tasks)
    hours, seconds = (slurm.now - first) / 3600, time.monotonic() - began
    print(f"{dict(result.state.counts())} after {hours:.1f} h of the cluster's clock, {seconds:.0f} s of ours")
    largest, asked = max(arrays.values()), dict(Counter(slurm.asked))
    print(f"{len(slurm.tasks)} workers in {len(arrays)} arrays, the largest of {largest}; asked SLURM: {asked}")
    passes.sort()
    print(f"a pass over all trials: {passes[len(passes) // 2]:.2f} s (median of {len(passes)})")


def status(folder: Path, queue: str, what: str) -> None:
    """Run the command from cold beside commands of SLURM that answer as the cluster in this process would, and count them."""
    _squeue(folder, queue)
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "XDG_CACHE_HOME": str(folder / "cache")}
    words = [sys.executable, "-m", "sweeps.cli.main", "status", "many", "--json"]
    for kept in (folder / "cache" / "rewardsweep").glob("squeue-*"):
        kept.unlink()  # an answer of a moment ago would do, and nobody would be asked
    start, before = time.monotonic(), os.times()
    ended = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=True)
    wall, after = time.monotonic() - start, os.times()
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    calls = (folder / "calls").read_text(encoding="utf-8").split()
    counts = json.loads(ended.stdout)["counts"]
    print(f"`sweep status --json` {what}: {spent:.2f} s of the processor, {wall:.2f} s in all, asked SLURM: {calls} {counts}", flush=True)


def _squeue(folder: Path, queue: str) -> None:
    (folder / "queue").write_text(queue, encoding="utf-8")
    (folder / "calls").write_text("", encoding="utf-8")
    for name in ("squeue", "sacct", "scontrol"):
        answer = f"cat {folder}/queue" if name == "squeue" else "exit 1"
        (folder / "bin" / name).write_text(f"#!/bin/sh\necho {name} >> {folder}/calls\n{answer}\n", encoding="utf-8")


def _write(path: Path, value: object) -> None:
    path.write_text(json.dumps(value), encoding="utf-8")


if __name__ == "__main__":
    given = [int(word) for word in sys.argv[1:]]
    main(*(given or [10_000, 1_200]))
