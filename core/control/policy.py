"""What follows an attempt that failed, by cause. The definition's ``failures`` changes the numbers.

A cause that the same code and data would meet again is not retried: it costs GPU time and hides the mistake. ``sweep retry``
lifts the verdict.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from core.definition.failures import FailuresConfig

RETRIES: Mapping[str, int] = {
    "user_bug": 0,
    "nan_loss": 0,
    "data_error": 0,
    "disk_quota": 1,
    "host_oom": 1,
    "cuda_oom": 6,
    "comm_timeout": 2,
    "node_failure": 3,
    "killed": 2,
    "crashed": 1,
    "no_progress": 0,
}
"""Further attempts in a row, without a newer checkpoint between them, after one that failed with this cause."""

LOST_WITHOUT_PROGRESS = 2
"""So many attempts in a row that were lost, or reached the time limit, without a newer checkpoint end the trial: *no progress*."""

QUICK_SECONDS = 60.0
"""A failure within so many seconds of an attempt's start is a quick one."""


@dataclass(frozen=True)
class Policy:
    """``failures`` of a definition, with the retries of every cause filled in."""

    retries: Mapping[str, int] = field(default_factory=lambda: dict(RETRIES))
    config: FailuresConfig = field(default_factory=FailuresConfig)

    @classmethod
    def read(cls, meta: Mapping[str, Any]) -> Policy:
        """From a revision's record; one that was registered before there was a choice has the defaults."""
        config = FailuresConfig.model_validate(meta.get("failures") or {})
        # where nothing may be changed, the same memory would be short again
        unchanged = {} if config.shrink else {"cuda_oom": 0}
        return cls({**RETRIES, **unchanged, **config.retries}, config)


ADVICE: Mapping[str, str] = {
    "user_bug": "read the traceback with `sweep logs TRIAL`, mend the code, then `sweep retry TRIAL`",
    "nan_loss": "lower optim.lr or lengthen optim.warmup; `sweep retry TRIAL` repeats it as it is",
    "data_error": "mend the row that is named, then `sweep retry TRIAL`",
    "disk_quota": "free space, then `sweep retry TRIAL`",
    "host_oom": "ask for more resources.memory or set execution.micro_batch lower, then `sweep retry TRIAL`",
    "cuda_oom": "nothing smaller is left to try: ask for more or larger GPUs, or a shorter train.max_length, then `sweep retry TRIAL`",
    "comm_timeout": "a rank stopped answering: look at the last lines of `sweep logs TRIAL` and at the nodes, then `sweep retry TRIAL`",
    "node_failure": "the nodes that failed are left out for a while; tell the cluster's administrators, then `sweep retry TRIAL`",
    "killed": "something sent SIGKILL without a sign of memory pressure; `sweep retry TRIAL`",
    "crashed": "a signal ended the process: see `sweep logs TRIAL`; `sweep retry TRIAL`",
    "no_progress": "its attempts end before the first checkpoint: lower checkpoint.every or raise resources.time, then `sweep retry TRIAL`",
}
"""What a user can do about a cause."""
