"""``python -m slurm.start_array FOLDER``: be the worker of this array task. ``FOLDER`` is the job folder of the first task.

Told to leave while it still imports, it says so and leaves a pass in its place, so that a sweep that nobody watches goes on; from then on
the worker's own handlers hold. One that is warned of its time limit so early would be warned again the next time: it counts as a worker
that cannot start.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

from slurm.start import start_worker


def main(first: Path) -> None:
    """Find the task's own folder and become the worker whose orders lie there."""
    tasks = json.loads((first / "array.json").read_text(encoding="utf-8"))["tasks"]
    folder = first.parent / tasks[int(os.environ["SLURM_ARRAY_TASK_ID"])]
    orders = json.loads((folder / "job.json").read_text(encoding="utf-8"))

    def leave(number: int, frame: object) -> None:
        reason = f"signal {signal.Signals(number).name} while it warmed up"
        elapsed, warned = time.time() - float(os.environ["SWEEP_JOB_BEGAN"]), orders.get("warned")
        short = warned is not None and elapsed >= warned
        if short:
            reason += f", {elapsed:.0f} s after its beginning: its time limit of {orders['limit'] / 60:g} minutes is too short"
        (folder / "left.json").write_text(json.dumps({"reason": reason, "done": 0, "unfit": short}), encoding="utf-8")
        for deaf in (signal.SIGTERM, signal.SIGUSR2):
            signal.signal(deaf, signal.SIG_IGN)
        os.execv(sys.executable, [sys.executable, "-m", orders["entry"].partition(":")[0], str(folder)])

    for number in (signal.SIGTERM, signal.SIGUSR2):
        signal.signal(number, leave)
    os.environ["SWEEP_JOB_ID"] = f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    os.environ["SWEEP_JOB_RESTART"] = os.environ.get("SLURM_RESTART_COUNT") or "0"
    start_worker(str(folder))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
