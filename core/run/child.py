"""The forked child: one attempt in a process of its own, so that a crash takes the attempt and not the worker.

The child dies with its parent (``PR_SET_PDEATHSIG``): an orphan would go on writing below an attempt that nobody watches. It
offers itself to the kernel's out-of-memory killer first, so that the worker survives.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import traceback
from dataclasses import replace
from pathlib import Path

from core.run.attempt import Place, Work, perform, take
from core.run.dying import LOST_RACE, die_with_parent
from core.run.packing import Part
from core.workspace.layout import Workspace


def _offer_to_oom_killer() -> None:
    try:
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    except OSError:
        print("oom_score_adj cannot be set here", file=sys.stderr)


def fork(workspace: Workspace, work: Work, place: Place, part: Part) -> int:
    """Fork a child that claims and performs ``work`` with its part of the allocation; returns its pid.

    Its exit code is 0, 1, or :data:`LOST_RACE`.
    """
    parent = os.getpid()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        die_with_parent(parent)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        _offer_to_oom_killer()
        part.enter()
        code = _run(workspace, work, replace(place, worker=f"{place.worker}-{os.getpid()}"))
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _run(workspace: Workspace, work: Work, place: Place) -> int:
    attempt = take(workspace, work, place)
    if attempt is None:
        return LOST_RACE
    output = os.open(attempt.output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    faulthandler.enable()
    return perform(workspace, work, attempt, place)
