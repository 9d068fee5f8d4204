"""How often an attempt that failed is followed by another one, by cause.

A cause that the same code and data would meet again is not retried: it costs GPU time and hides the mistake. ``sweep retry``
lifts the verdict.
"""

from __future__ import annotations

from collections.abc import Mapping

RETRIES: Mapping[str, int] = {
    "user_bug": 0,
    "nan_loss": 0,
    "data_error": 0,
    "disk_quota": 1,
    "host_oom": 1,
    "cuda_oom": 1,
    "killed": 2,
    "crashed": 1,
    "no_progress": 0,
}
"""Further attempts after one that failed with this cause."""

LOST_WITHOUT_PROGRESS = 3
"""So many attempts in a row that were lost, or reached the time limit, without a newer checkpoint end the trial: *no progress*."""

ADVICE: Mapping[str, str] = {
    "user_bug": "read the traceback with `sweep logs TRIAL`, mend the code, then `sweep retry TRIAL`",
    "nan_loss": "lower optim.lr or lengthen optim.warmup; `sweep retry TRIAL` repeats it as it is",
    "data_error": "mend the row that is named, then `sweep retry TRIAL`",
    "disk_quota": "free space, then `sweep retry TRIAL`",
    "host_oom": "ask for more resources.memory or set execution.micro_batch lower, then `sweep retry TRIAL`",
    "cuda_oom": "set execution.micro_batch lower or execution.activation_checkpointing: true, then `sweep retry TRIAL`",
    "killed": "something sent SIGKILL without a sign of memory pressure; `sweep retry TRIAL`",
    "crashed": "a signal ended the process: see `sweep logs TRIAL`; `sweep retry TRIAL`",
    "no_progress": "its attempts end before the first checkpoint: set checkpoint.every lower, then `sweep retry TRIAL`",
}
"""What a user can do about a cause."""
