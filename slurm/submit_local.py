"""``python -m slurm.submit_local JOB_FOLDER``: hand one worker to submitit's local executor and leave.

The controller that submitit starts is expected to survive this process; its pid is the job id.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from submitit.local.local import LocalExecutor

from core.workspace import process
from core.workspace.files import write_atomic
from slurm.start import start_worker

FOREVER_MIN = 60 * 24 * 365.0
"""submitit's local controller ends a job after its ``timeout_min``, two minutes by default; a worker leaves by itself."""


def main(folder: Path) -> None:
    """Submit the worker that ``job.json`` in ``folder`` describes."""
    executor = LocalExecutor(folder / "submitit", max_num_timeout=10**6)
    executor.update_parameters(timeout_min=FOREVER_MIN, stderr_to_stdout=True)
    job = executor.submit(start_worker, str(folder))
    value = {"job_id": job.job_id, "controller": process.identity(int(job.job_id))}
    write_atomic(folder / "submitted.json", json.dumps(value, indent=1), sync=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
