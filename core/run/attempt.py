"""Making one attempt in this process: claim it, do the work, end the journal with what happened.

Both the forked child of a worker and ``sweep run`` come through here; they differ in where the output goes and in what a
signal means.
"""

from __future__ import annotations

import json
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from core import registry
from core.control import causes, remedy
from core.control.derive import UnitStatus
from core.definition.identity import canonical, trial_id
from core.definition.plan import PlannedTrial
from core.definition.trial import RehearsalConfig, TrialConfig
from core.errors import IntegrityError, SweepError, TrialFailed
from core.run.context import AttemptContext
from core.run.leaving import Allocation
from core.training.context import Interrupted
from core.workspace import fingerprints, process
from core.workspace.claim import check_config, claim, newest_valid_checkpoint
from core.workspace.files import fault
from core.workspace.journal import JournalWriter
from core.workspace.layout import Attempt, Scoring, Trial, Unit, Workspace, write_config

LOST_RACE = 75
"""Exit code of a child that found its unit claimed by another worker."""

Echo = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Work:
    """One thing to do: train a trial, score a trial, or score a baseline.

    Attributes:
        kind: what to do.
        status: the unit's status when it was chosen; it names the attempt to make and its evidence.
        planned: the trial (``None`` for a baseline).
        key: the scoring's key.
        evaluate: the entry of ``evaluate`` that is scored: ``{"benchmark": {...}, "revision": ...}``.
        baseline: the baseline's name.
        rehearsal: the rehearsal section of the trial's configuration, for a baseline.
    """

    kind: Literal["train", "score", "baseline"]
    status: UnitStatus
    planned: PlannedTrial | None = None
    key: str = ""
    evaluate: Mapping[str, Any] = field(default_factory=dict)
    baseline: str = ""
    rehearsal: Mapping[str, Any] | None = None

    def unit(self, workspace: Workspace) -> Unit:
        """The folder that is worked on."""
        if self.planned is None:
            return workspace.baseline(self.baseline, self.key)
        trial = workspace.trial(self.planned.id)
        return trial if self.kind == "train" else trial.scoring(self.key)


@dataclass(frozen=True)
class Place:
    """Where the attempt runs and in whose name: ``job`` is the job's key, ``code`` the user's component files."""

    worker: str
    job: str | None = None
    device: str = "cpu"
    threads: int = 1
    code: tuple[Path, ...] = ()
    allocation: Allocation = field(default_factory=Allocation)


def take(workspace: Workspace, work: Work, place: Place) -> Attempt | None:
    """Claim the unit's next attempt in the name of this process; ``None`` where another one won.

    Raises:
        EnvironmentFault: the workspace cannot be written.
    """
    unit = work.unit(workspace)
    number = work.status.attempts + 1
    try:
        given = place.allocation
        details = {"job": place.job, "restart": given.restart, "kind": work.kind, "node": process.node(), "limit": given.limit}
        return claim(unit, number, place.worker, details, work.status.evidence)
    except OSError as error:
        raise fault(error, unit.folder) from error


def _own_config(trial: Trial, planned: PlannedTrial) -> TrialConfig:
    """The trial's configuration, checked against its id and against what an earlier attempt has written.

    Raises:
        IntegrityError: the plan or ``config.json`` was changed by hand.
    """
    config = TrialConfig.model_validate(dict(planned.config))
    if trial_id(config) != trial.id:
        raise IntegrityError("the plan's configuration does not hash to its trial's id", found=trial.id[:10])
    write_config(trial, canonical(config))
    check_config(trial.config, canonical(config), trial.id)
    return config


def perform(workspace: Workspace, work: Work, attempt: Attempt, place: Place, *, echo: Echo | None = None, debug: bool = False) -> int:
    """Do the work of an attempt that this process owns; returns 0 where it completed, 1 where it did not.

    Whatever happens, the journal ends with a line that says what. With ``debug`` an unexpected exception is journalled and
    raised again (for a debugger).
    """
    journal = JournalWriter(attempt.journal)

    def end(state: str, **fields: Any) -> int:
        line = journal.write("ended", state=state, **fields)
        if echo is not None:
            echo(line)
        journal.close()
        return 0 if state == "completed" else 1

    try:
        registry.load_code(list(place.code))
        if work.kind == "train":
            _train(workspace, work, attempt, journal, place, echo)
        else:
            _score(workspace, work, attempt, journal, place, echo)
        return end("completed")
    except Interrupted as error:
        state = error.ask if error.ask in ("preempted", "time_limit") else "interrupted"
        return end(state, ask=error.ask, message=str(error))
    except KeyboardInterrupt:
        return end("interrupted", ask="stop", message="interrupted before a checkpoint could be saved")
    except TrialFailed as error:
        print(f"{error.cause}: {error.message}", file=sys.stderr, flush=True)
        return end("failed", cause=error.cause, message=error.message)
    except SweepError as error:
        print(error, file=sys.stderr, flush=True)
        return end("failed", cause="data_error", message=str(error))
    except Exception as error:
        traceback.print_exc()
        sys.stderr.flush()
        where = traceback.extract_tb(error.__traceback__)[-1]
        message = f"{type(error).__name__}: {error} ({Path(where.filename).name}:{where.lineno})"
        end("failed", cause=causes.of_exception(error), message=message, signature=causes.signature(error))
        if debug:
            raise
        return 1


def _train(workspace: Workspace, work: Work, attempt: Attempt, journal: JournalWriter, place: Place, echo: Echo | None) -> None:
    from core.training.trainer import train

    assert work.planned is not None
    trial = workspace.trial(work.planned.id)
    config = _own_config(trial, work.planned)
    changed = work.status.remedy
    config = config.model_copy(update={"execution": config.execution.model_copy(update=dict(changed.execution))})
    found = newest_valid_checkpoint(trial)
    prints = {"code": fingerprints.code_fingerprint(place.code), "env": fingerprints.environment_fingerprint()}
    line = journal.write(
        "started",
        attempt=attempt.number,
        resumed={"attempt": found[0], "step": found[1]} if found else None,
        fingerprints=prints,
        device=place.device,
        threads=place.threads,
        execution=remedy.used(config),
        changed=dict(changed.execution),
    )
    if echo is not None:
        echo(line)
    context = AttemptContext(
        workspace,
        trial,
        attempt,
        journal,
        resume=found[2] if found else None,
        device=place.device,
        threads=config.execution.threads or place.threads,
        keep=config.execution.checkpoint_keep,
        after=config.execution.checkpoint_after,
        fingerprints=prints,
        flags=changed.flags,
        echo=echo,
        needs=work.planned.needs,
    )
    with _signals(context, place.allocation):
        train(config, context)


def _score(workspace: Workspace, work: Work, attempt: Attempt, journal: JournalWriter, place: Place, echo: Echo | None) -> None:
    from core.evaluation.scorer import score_baseline, score_trial, summarise

    began = time.monotonic()
    journal.write("started", attempt=attempt.number, resumed=None, device=place.device, threads=place.threads)
    benchmark = work.evaluate["benchmark"]

    def progress(done: int, total: int) -> None:
        line = journal.write("score", done=done, total=total)
        if echo is not None:
            echo(line)

    if work.planned is None:
        rehearsal = RehearsalConfig.model_validate(dict(work.rehearsal)) if work.rehearsal else None
        table = score_baseline(work.baseline, benchmark, rehearsal, key=work.key)
        scoring = workspace.baseline(work.baseline, work.key)
    else:
        config = TrialConfig.model_validate(dict(work.planned.config))
        trial = workspace.trial(work.planned.id)
        scoring = trial.scoring(work.key)
        table = score_trial(
            trial.result / "weights", config, benchmark, key=work.key, scorer=f"trial:{trial.id}", device=place.device,
            threads=config.execution.threads or place.threads, on_progress=progress,
        )  # fmt: skip
    code = fingerprints.code_fingerprint(place.code, rooms=fingerprints.SCORING_ROOMS)
    about = {"data_hash": table.metadata.data_hash, "scorer": table.metadata.scorer, "fingerprints": {"code": code}}
    summary = summarise(table) | {"v": 1, "key": work.key, **about, "seconds": round(time.monotonic() - began, 3)}
    if summary["revision"] != work.evaluate["revision"]:
        raise TrialFailed("data_error", f"{benchmark['name']} is {summary['revision']} now, it was {work.evaluate['revision']} at launch")
    publish_scoring(scoring, table, summary)


def publish_scoring(scoring: Scoring, table: Any, summary: Mapping[str, Any]) -> None:
    """Write a ScoreTable and then its summary, whose presence says that the scoring is finished."""
    from core.workspace.files import write_atomic

    scoring.folder.mkdir(parents=True, exist_ok=True)
    table.write(scoring.table)
    write_atomic(scoring.summary, json.dumps(summary, indent=1, sort_keys=True), sync=True)


class _signals:  # noqa: N801 (used like a function)
    """While training runs, SIGTERM, SIGINT and SIGUSR2 ask for a checkpoint and leave; a second SIGINT leaves at once."""

    WATCHED = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)

    def __init__(self, context: AttemptContext, allocation: Allocation) -> None:
        self._context = context
        self._allocation = allocation
        self._before: dict[int, Any] = {}

    def _ask(self, number: int, frame: object) -> None:
        if number == signal.SIGINT and self._context.signalled is not None:
            raise KeyboardInterrupt
        # the first word counts: the order to leave that follows a warning does not change why
        self._context.signalled = self._context.signalled or self._allocation.why(number)

    def __enter__(self) -> None:
        for number in self.WATCHED:
            self._before[number] = signal.signal(number, self._ask)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
