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
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from core import registry
from core.control import causes, remedy
from core.control.derive import UnitStatus
from core.control.remedy import Remedy
from core.definition.identity import canonical, trial_id
from core.definition.plan import PlannedTrial
from core.definition.trial import RehearsalConfig, TrialConfig
from core.errors import IntegrityError, SweepError, TrialFailed
from core.run.context import AttemptContext, Follower
from core.run.crew import MEETING, ORDERS, Crew, Forks, Step, lead
from core.run.ending import say
from core.run.leaving import Allocation, AskScheduler, settled
from core.training.context import Interrupted, Seat
from core.training.layout import Layout, choose
from core.workspace import fingerprints, process
from core.workspace.claim import check_config, claim, newest_valid_checkpoint
from core.workspace.files import fault
from core.workspace.journal import JournalWriter
from core.workspace.layout import Attempt, Scoring, Trial, Unit, Workspace, write_config
from core.workspace.requests import asked

AT_ONCE = "interrupted before a checkpoint could be saved"


class CheckpointGone(Exception):
    """An earlier attempt that was thought dead lives, and has replaced the checkpoint while this one was reading it."""

    def __init__(self, attempt: int, step: int) -> None:
        super().__init__(f"attempt {attempt} lives, and has replaced its checkpoint of step {step} meanwhile")


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
    """Where the attempt runs and in whose name: ``job`` is the job's key, ``code`` the user's component files, ``gpus`` the names of
    its GPUs.

    ``step`` starts the ranks of a trial of several processes in an allocation of the scheduler; empty on one's own machine.
    ``scheduler`` asks what becomes of that allocation.
    """

    worker: str
    job: str | None = None
    device: str = "cpu"
    threads: int = 1
    code: tuple[Path, ...] = ()
    allocation: Allocation = field(default_factory=Allocation)
    step: tuple[str, ...] = ()
    gpus: tuple[str, ...] = ()
    scheduler: AskScheduler | None = None


def take(workspace: Workspace, work: Work, place: Place) -> Attempt | None:
    """Claim the unit's next attempt in the name of this process; ``None`` where another one won.

    Raises:
        EnvironmentFault: the workspace cannot be written.
    """
    unit = work.unit(workspace)
    number = work.status.attempts + 1
    try:
        given = place.allocation
        details: dict[str, Any] = {
            "job": place.job,
            "restart": given.restart,
            "kind": work.kind,
            "node": process.node(),
            "limit": given.limit,
        }
        # what a further attempt must be given, where this one does not come to its first checkpoint
        times = {"left": given.left(time.time()), "usual": given.usual, "most": given.most}
        details |= {name: round(value, 3) for name, value in times.items() if value is not None}
        details |= {"gpus": list(place.gpus)} if place.gpus else {}
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


def executed(config: TrialConfig, changed: Remedy) -> TrialConfig:
    """The configuration with the execution settings that this attempt changes."""
    return config.model_copy(update={"execution": config.execution.model_copy(update=dict(changed.execution))})


def _used(config: TrialConfig, seat: Seat, device: str) -> dict[str, Any]:
    """The settings that a remedy may change, as this attempt uses them; how a model is divided matters on GPUs alone."""
    found = remedy.used(config) | {"micro_batch": config.micro_batch_of(seat.ranks)}
    divided = {"zero": seat.layout.stage, "offload": seat.layout.offload} if device == "cuda" else {}
    return {name: value for name, value in found.items() if name not in ("zero", "offload")} | divided


def perform(workspace: Workspace, work: Work, attempt: Attempt, place: Place, *, echo: Echo | None = None, debug: bool = False) -> int:
    """Do the work of an attempt that this process owns; returns 0 where it completed, 1 where it did not.

    Whatever happens, the journal ends with a line that says what. With ``debug`` an unexpected exception is journalled and
    raised again (for a debugger). A trial of several processes is led (:mod:`core.run.crew`), everything else done here.
    """
    if work.kind == "train" and work.planned is not None and work.planned.shape.processes > 1:
        line = _lead(workspace, work.planned, attempt, place, work.status.remedy, echo)
        if echo is not None:
            echo(line)
        return 0 if line["state"] == "completed" else 1
    journal = JournalWriter(attempt.journal)

    def do() -> None:
        if work.kind != "train":
            _score(workspace, work, attempt, journal, place, echo)
            return
        assert work.planned is not None
        trial = workspace.trial(work.planned.id)
        found = newest_valid_checkpoint(trial)
        changed = work.status.remedy
        config = executed(_own_config(trial, work.planned), changed)
        layout = choose(config, work.planned.shape) if config.task == "reward_model" else Layout()
        seat = Seat(meeting=attempt.folder / MEETING if layout.stage is not None else None, layout=layout)
        _train(workspace, work.planned, attempt, journal, place, seat, found[:2] if found else None, changed, echo)

    fields, unexpected = _carried_out(place, do)
    line = journal.write("ended", **settled(fields, place.scheduler))
    if echo is not None:
        echo(line)
    journal.close()
    if debug and unexpected is not None:
        raise unexpected
    return 0 if line["state"] == "completed" else 1


def _carried_out(place: Place, do: Callable[[], None]) -> tuple[dict[str, Any], Exception | None]:
    """Do it, and say how it ended: the fields of the last line, and the exception where nobody has foreseen it."""

    def failed(cause: str, message: str) -> dict[str, Any]:
        return {"state": "failed", "cause": cause, "message": message}

    try:
        registry.load_code(list(place.code))
        do()
        return {"state": "completed"}, None
    except Interrupted as error:
        state = error.ask if error.ask in ("preempted", "time_limit") else "interrupted"
        return {"state": state, "ask": error.ask, "message": str(error)}, None
    except CheckpointGone as error:
        return {"state": "interrupted", "ask": "stop", "message": str(error)}, None
    except KeyboardInterrupt:
        return {"state": "interrupted", "ask": "stop", "message": AT_ONCE}, None
    except TrialFailed as error:
        print(f"{error.cause}: {error.message}", file=sys.stderr, flush=True)
        return failed(error.cause, error.message), None
    except SweepError as error:
        print(error, file=sys.stderr, flush=True)
        return failed("data_error", str(error)), None
    except Exception as error:
        traceback.print_exc()
        sys.stderr.flush()
        where = traceback.extract_tb(error.__traceback__)[-1]
        message = f"{type(error).__name__}: {error} ({Path(where.filename).name}:{where.lineno})"
        return failed(causes.of_exception(error), message) | {"signature": causes.signature(error)}, error


def _lead(
    workspace: Workspace, planned: PlannedTrial, attempt: Attempt, place: Place, changed: Remedy, echo: Echo | None
) -> dict[str, Any]:
    """Start the ranks of a trial, here or as a step of the scheduler, and wait for all of them."""
    found = newest_valid_checkpoint(workspace.trial(planned.id))
    ranks = planned.shape.processes
    orders = RankOrders(
        planned,
        found[:2] if found else None,
        # ranks never ask whether something further may be taken up
        replace(place, step=(), scheduler=None, threads=max(1, place.threads // ranks), allocation=replace(place.allocation, grid=None)),
        planned.shape.nodes if place.step else 1,
        changed,
    )

    def start() -> Crew:
        if not place.step:
            return Forks(
                ranks,
                lambda rank: be_rank(workspace, attempt, orders, rank, rank, echo if rank == 0 else None),
                lambda rank: attempt.rank_output(rank) if rank else None,
            )
        orders.write(attempt, workspace)
        return Step([*place.step, str(attempt.folder)], attempt.output)

    return lead(attempt, ranks, start, place.allocation, place.scheduler)


@dataclass(frozen=True)
class RankOrders:
    """What every rank of an attempt must know.

    Attributes:
        planned: the trial.
        resumed: attempt and step of the checkpoint to go on from, verified once by the leader.
        place: as the leader's, with the threads of one rank.
        nodes: nodes that the ranks stand on.
        changed: what this attempt does differently from the ones before.
    """

    planned: PlannedTrial
    resumed: tuple[int, int] | None
    place: Place
    nodes: int
    changed: Remedy

    def write(self, attempt: Attempt, workspace: Workspace) -> None:
        """Write them into the attempt's folder, for ranks that are no forks."""
        place = asdict(self.place) | {"code": [str(file) for file in self.place.code]}
        where = {"workspace": str(workspace.root), "holds": [str(file) for file in workspace.holds]}
        value = {"v": 1, **where, "planned": self.planned.to_json(), "resumed": self.resumed, "place": place}
        changed = {"execution": dict(self.changed.execution), "flags": self.changed.flags}
        (attempt.folder / ORDERS).write_text(json.dumps(value | {"nodes": self.nodes, "changed": changed}), encoding="utf-8")

    @classmethod
    def read(cls, attempt: Attempt) -> tuple[Workspace, RankOrders]:
        """Read them back."""
        value = json.loads((attempt.folder / ORDERS).read_text(encoding="utf-8"))
        place = value["place"]
        place |= {"code": tuple(map(Path, place["code"])), "allocation": Allocation(**place["allocation"]), "step": (), "gpus": ()}
        resumed = tuple(value["resumed"]) if value["resumed"] else None
        changed = Remedy(value["changed"]["execution"], tuple(value["changed"]["flags"]))
        orders = cls(PlannedTrial.from_json(value["planned"]), resumed, Place(**place), value["nodes"], changed)
        # ranks obey what their worker obeys, also the HOLDs of the site
        return Workspace(Workspace.open(Path(value["workspace"])).root, tuple(map(Path, value["holds"]))), orders


def be_rank(workspace: Workspace, attempt: Attempt, orders: RankOrders, rank: int, local: int, echo: Echo | None = None) -> int:
    """Be one rank of an attempt that the leader owns; returns 0 where it did what it was asked to, also where that was to leave.

    Rank 0 writes the journal up to its last line, which is the leader's; each rank leaves its last word beside it.
    """
    planned = orders.planned
    journal = JournalWriter(attempt.journal) if rank == 0 else None

    def do() -> None:
        config = executed(_own_config(workspace.trial(planned.id), planned), orders.changed)
        layout = choose(config, planned.shape)
        seat = Seat(rank, planned.shape.processes, local, orders.nodes, attempt.folder / MEETING, layout)
        _train(workspace, planned, attempt, journal, orders.place, seat, orders.resumed, orders.changed, echo)

    fields, _ = _carried_out(orders.place, do)
    if journal is not None:
        journal.close()
    say(attempt.folder, rank, fields)
    return 1 if fields["state"] == "failed" or fields.get("message") == AT_ONCE else 0


def _train(
    workspace: Workspace,
    planned: PlannedTrial,
    attempt: Attempt,
    journal: JournalWriter | None,
    place: Place,
    seat: Seat,
    resumed: tuple[int, int] | None,
    changed: Remedy,
    echo: Echo | None,
) -> None:
    """Train as the rank of this seat; only rank 0 has a journal."""
    from core.training.trainer import train

    trial = workspace.trial(planned.id)
    config = executed(_own_config(trial, planned), changed)
    resume = Attempt(trial.folder / "attempts" / f"{resumed[0]:04d}").checkpoint(resumed[1]) if resumed else None
    threads = config.execution.threads or place.threads
    if journal is None:
        train(
            config,
            Follower(attempt, resume=resume, device=place.device, threads=threads, seat=seat, workspace=workspace, needs=planned.needs),
        )
        return
    prints = {"code": fingerprints.code_fingerprint(place.code), "env": fingerprints.environment_fingerprint()}
    line = journal.write(
        "started",
        attempt=attempt.number,
        resumed={"attempt": resumed[0], "step": resumed[1]} if resumed else None,
        fingerprints=prints,
        device=place.device,
        threads=threads,
        ranks=seat.ranks,
        layout=seat.layout.name,
        execution=_used(config, seat, place.device),
        changed=dict(changed.execution),
    )
    if echo is not None:
        echo(line)
    context = AttemptContext(
        workspace,
        trial,
        attempt,
        journal,
        resume=resume,
        device=place.device,
        threads=threads,
        seat=seat,
        keep=config.execution.checkpoint_keep,
        after=config.execution.checkpoint_after,
        fingerprints=prints,
        flags=changed.flags,
        echo=echo,
        needs=planned.needs,
    )
    with _signals(context, place.allocation):
        try:
            train(config, context)
        except FileNotFoundError as error:
            if resume is not None and resumed is not None and not resume.exists() and context.steps == 0:
                raise CheckpointGone(*resumed) from error
            raise


def _score(workspace: Workspace, work: Work, attempt: Attempt, journal: JournalWriter, place: Place, echo: Echo | None) -> None:
    from core.evaluation.scorer import BATCH, score_baseline, score_trial, summarise

    began = time.monotonic()
    changed = dict(work.status.remedy.execution)
    execution = {"scoring_batch": BATCH, **changed} if work.planned is not None else {}
    how = {"device": place.device, "threads": place.threads, "execution": execution, "changed": changed}
    journal.write("started", attempt=attempt.number, resumed=None, **how)
    benchmark = work.evaluate["benchmark"]

    def progress(done: int, total: int) -> None:
        line = journal.write("score", done=done, total=total)
        if echo is not None:
            echo(line)
        stop = "pause" if workspace.held else asked(workspace.trial(work.planned.id)).stop if work.planned is not None else None
        if stop is not None and done < total:
            raise Interrupted(stop, done)

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
            threads=config.execution.threads or place.threads, on_progress=progress, batch=execution["scoring_batch"],
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
