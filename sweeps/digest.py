"""Makes a digest of a workspace, and sends it: to a file, a webhook, or a command that takes a mail on its standard input."""

from __future__ import annotations

import re
import shlex
import subprocess
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from urllib.parse import urlsplit

from core.analysis.report import Report
from core.control.policy import ADVICE
from core.errors import EnvironmentFault, UsageError
from core.store.browse import AttemptRow, Browser
from core.workspace.layout import Workspace
from core.workspace.registration import Revision, newest, resolve
from dashboards.digest import Best, Digest, SweepNews, markdown
from dashboards.report import render
from dashboards.report.verdicts import verdicts
from sweeps import wiring
from sweeps.reporting import gather, open_index
from sweeps.watching import mirror_once

UNITS = {"m": 60.0, "h": 3600.0, "d": 86400.0}
SECONDS = 30.0
"""How long a webhook or a mail command may take."""


def seconds_of(text: str) -> float:
    """``24h``, ``90m`` or ``7d`` in seconds.

    Raises:
        UsageError: it is no such length.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([mhd])", text)
    if found is None:
        raise UsageError("not a length of time", found=text, allowed="a number and m, h or d, such as 24h")
    return float(found[1]) * UNITS[found[2]]


def make(workspace: Workspace, names: Sequence[str], since: float, now: float | None = None) -> Digest:
    """The digest of what has happened since a time.

    Args:
        workspace: the workspace.
        names: of sweeps; these are told of in any case. None takes all, and leaves out those of which nothing is new.
        since: unix seconds.
        now: unix seconds; default: now.

    Raises:
        UsageError: there is no such sweep.
    """
    now = time.time() if now is None else now
    chosen = [resolve(workspace, name) for name in names] or [found for sweep in workspace.sweeps() if (found := newest(sweep)) is not None]
    news, quiet = [], []
    for revision in chosen:
        one = _news(workspace, revision, since, now)
        if names or one.ended or one.hours[0] > 0:
            news.append(one)
        else:
            quiet.append(one.sweep)
    return Digest(since, now, news, quiet)


def _news(workspace: Workspace, revision: Revision, since: float, now: float) -> SweepNews:
    reader = wiring.reader(workspace, revision)
    state = reader.state()
    with open_index(workspace) as index:
        mirror_once(workspace, reader, state, index)
        attempts = Browser(index).attempts(revision.sweep.id)
    states = {trial.planned.id: trial.train.state for trial in state.trials}
    last = {attempt.trial: attempt.ended for attempt in attempts if attempt.ended is not None}
    ended = Counter(
        states[id]
        for id, at in last.items()
        if id in states and since < at <= now and states[id] in ("completed", "failed", "cancelled", "pruned")
    )
    causes = Counter(trial.train.cause or "unknown" for trial in state.trials if trial.train.state == "failed")
    complete = all(unit.state == "completed" for _, unit in state.units())
    report = gather(workspace, revision, examples=complete) if any(name == "completed" for name in states.values()) else None
    return SweepNews(
        sweep=revision.sweep.id,
        rehearsal=revision.rehearsal,
        counts=state.counts(),
        ended={str(name): number for name, number in ended.items()},
        failed={cause: (number, ADVICE.get(cause, "")) for cause, number in causes.items()},
        hours=_hours(attempts, since, now),
        complete=complete,
        best=_best(report) if report is not None else [],
        table=render(_without_links(report), "markdown") if report is not None and complete else None,
    )


def _hours(attempts: Sequence[AttemptRow], since: float, now: float) -> tuple[float, float]:
    """Hours of attempts within the time, and the same times their GPUs."""
    hours = gpu_hours = 0.0
    for attempt in attempts:
        if attempt.started is not None and attempt.ended is not None:
            spent = max(0.0, min(attempt.ended, now) - max(attempt.started, since)) / 3600
            hours += spent
            gpu_hours += spent * attempt.gpus
    return hours, gpu_hours


def _best(report: Report) -> list[Best]:
    return [Best(one.metric, one.cells, one.words) for one in verdicts(report)]


def _without_links(report: Report) -> Report:
    """Links to a local MLflow lead nowhere from a mail."""
    rows = [replace(row, metrics={name: replace(value, urls=()) for name, value in row.metrics.items()}) for row in report.rows]
    return replace(report, rows=tuple(rows))


def post(digest: Digest, url: str) -> None:
    """Post the digest as JSON with the key ``text``, which chat servers take.

    Raises:
        UsageError: the address is none of http or https.
        EnvironmentFault: nobody takes it. The address may hold a secret, so only its host is named.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError("not the address of a webhook", found=f"{parts.scheme or 'no scheme'}://...", allowed="https://HOST/...")
    import requests

    try:
        answer = requests.post(url, json={"text": markdown(digest)}, timeout=SECONDS, allow_redirects=False)
    except requests.RequestException as error:
        raise EnvironmentFault(
            "the webhook cannot be reached",
            found=f"{parts.hostname}: {type(error).__name__}",
            next="run the command again: nothing was sent",
        ) from None
    if answer.status_code >= 300:
        raise EnvironmentFault("the webhook refuses the digest", found=f"{parts.hostname} answers {answer.status_code}")


def mail(text: str, command: str) -> None:
    """Give the digest to a command on its standard input; it is started without a shell.

    Raises:
        UsageError: it is no command.
        EnvironmentFault: it cannot be started, fails, or takes too long.
    """
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise UsageError(f"not a command: {error}", found=command) from error
    if not words:
        raise UsageError("not a command", found=command or "nothing", allowed="such as: mail -s digest me@example.org")
    try:
        done = subprocess.run(words, input=text, text=True, capture_output=True, timeout=SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EnvironmentFault("the mail command cannot be run", found=f"{words[0]}: {error}") from error
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise EnvironmentFault(
            "the mail command has failed", found=f"{words[0]} ended with {done.returncode}" + (f": {said[-1]}" if said else "")
        )
