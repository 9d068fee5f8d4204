"""The command in a fork of a process that has imported it already.

A call costs up to four seconds of imports and a tenth of that in work. Here the imports are paid once for all tests of a process; each
call is a process of its own as ever, with its own environment, folder, output and exit code. What a test kills or signals
(``Study.start``), what runs in jobs, and the console blocks of the documentation are commands as a shell starts them.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload([
    "dashboards.mlflow.tracker",  # the first, for it imports less of mlflow than there is
    "mlflow.store.tracking.sqlalchemy_store",
    "core.evaluation.benchmarks",
    "dashboards.live.view",
    "dashboards.report.page",
    *(f"sweeps.cli.{room}" for room in ("act", "admin", "answer", "data", "define", "digest", "hand_on", "launch", "look", "nightly")),
    "sweeps.cli.place",
    "sweeps.cli.search",
    "sweeps.launching",
    "sweeps.planning",
    "sweeps.reporting",
    "sweeps.search_plots",
    "sweeps.watching",
])  # fmt: skip


@dataclass(frozen=True)
class Ended:
    """How a call of the command ended."""

    code: int
    stdout: str
    stderr: str


def call(words: Sequence[str], folder: Path, environment: Mapping[str, str], timeout: float) -> Ended:
    """Run ``sweep WORDS`` in ``folder`` to its end.

    Raises:
        TimeoutError: it takes longer than ``timeout`` seconds; it is killed.
    """
    with tempfile.TemporaryDirectory(prefix="sweep-call-") as place:
        out, errors = Path(place) / "stdout", Path(place) / "stderr"
        process = FORKS.Process(target=_be, args=(list(words), str(folder), dict(environment), str(out), str(errors)))
        process.start()
        process.join(timeout)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise TimeoutError(f"sweep {' '.join(words)}: not through after {timeout} s\n{out.read_text()}{errors.read_text()}")
        ended = Ended(process.exitcode, out.read_text(encoding="utf-8"), errors.read_text(encoding="utf-8"))
        process.close()
        return ended


def _be(words: list[str], folder: str, environment: dict[str, str], out: str, errors: str) -> None:
    for number, path in ((1, out), (2, errors)):
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(handle, number)
        os.close(handle)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = ["sweep", *words]
    from core.entry import main

    main()
