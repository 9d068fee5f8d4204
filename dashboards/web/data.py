"""What the pages read: the index, the files of one trial, and answers that take long, kept until the sweep has moved on."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from dataclasses import dataclass, field
from typing import Any

from core.definition.plan import PlannedTrial
from core.errors import SweepError, UsageError
from core.store import Index
from core.store.browse import Browser
from core.workspace.layout import Workspace
from core.workspace.registration import Revision, newest
from dashboards.mlflow.place import store_of
from dashboards.web.answers import Answers, ClusterState

REFRESH_SECONDS = 3.0
"""Between two looks at a sweep that moves, at least."""
SETTLED_SECONDS = 30.0
"""Between two looks at sweeps that have come to an end: a retry or a new launch may move them again."""
REST = 10.0
"""A look at a sweep is followed by so many times as long without one, so that following the largest keeps a tenth of a core at most."""
PATIENCE = 1.0
"""Seconds that a page waits for an answer before it says that it is being worked out."""
CLUSTER_SECONDS = 10.0
"""Between two looks at workers and nights, however many readers ask."""
KEPT = 120
"""Long answers that are kept."""

_log = logging.getLogger(__name__)


class NotHere(UsageError):
    """What an address names is not here."""


@dataclass(frozen=True)
class Pending:
    """An answer that is being worked out."""


@dataclass
class Sweeping:
    """A sweep as the refresher knows it."""

    due: float = 0.0
    moves: bool = True


@dataclass(frozen=True)
class PlanFacts:
    """What is the same in the plan of a revision, whoever asks: for each path of the configuration the value of most trials."""

    trials: Mapping[str, int]
    usual: Mapping[str, str] = field(default_factory=dict)


class Data:
    """Reads for the pages. Every method may be called from several threads.

    Args:
        workspace: whose sweeps are shown.
        index: of the workspace, open.
        answers: of the floor above.
        mlflow: address of the MLflow UI, for links to runs; ``None`` for the store's own.
    """

    def __init__(self, workspace: Workspace, index: Index, answers: Answers, *, mlflow: str | None = None) -> None:
        self.workspace = workspace
        self.index = index
        self.browser = Browser(index)
        self.answers = answers
        self.mlflow = mlflow or store_of(workspace).ui
        self.problems: dict[str, str] = {}
        self._kept: OrderedDict[Hashable, tuple[Hashable, Future[Any]]] = OrderedDict()
        self._before: dict[Hashable, Any] = {}
        self._lock = threading.Lock()
        self._quick = ThreadPoolExecutor(2, thread_name_prefix="answers")
        self._slow = ThreadPoolExecutor(1, thread_name_prefix="long-answers")
        self._watch = ThreadPoolExecutor(1, thread_name_prefix="cluster")
        self._cluster: tuple[float, Future[ClusterState]] | None = None
        self._seen: ClusterState | None = None
        self._stop = threading.Event()
        self._sweeps: dict[str, Sweeping] = {}
        self._first: Callable[[], object] = lambda: None
        self._thread = threading.Thread(target=self._refresh_on, name="refresh", daemon=True)

    def start(self, first: Callable[[], object]) -> None:
        """Begin to follow the files; ``first`` is called before, in the same thread."""
        self._first = first
        self._thread.start()

    def close(self) -> None:
        """Let go of threads and the index."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        for pool in (self._quick, self._slow, self._watch):
            pool.shutdown(cancel_futures=True)
        self.index.close()

    # -- following the files ------------------------------------------------------------------------------------------------

    def _refresh_on(self) -> None:
        try:
            self._first()
        except Exception:  # whoever opens the page is told
            _log.debug("before the first look", exc_info=True)
        while not self._stop.wait(REFRESH_SECONDS):
            self.refresh()

    def refresh(self) -> None:
        """One look at every sweep that is due."""
        try:
            ids = [sweep.id for sweep in self.workspace.sweeps()]
        except OSError as error:
            self.problems["workspace"] = str(error)
            return
        for id in ids:
            known = self._sweeps.setdefault(id, Sweeping())
            began = time.monotonic()
            if self._stop.is_set() or began < known.due:
                continue
            # one sweep that cannot be read hides no other
            try:
                found = self.answers.refresh(self.index, id)
                known.moves = found.moves
                if found.problems:
                    more = f" and {len(found.problems) - 3} more" if len(found.problems) > 3 else ""
                    self.problems[id] = "; ".join(found.problems[:3]) + more
                else:
                    self.problems.pop(id, None)
            except SweepError as error:
                self.problems[id] = " ".join(line.strip() for line in error.lines())
            except Exception as error:
                _log.exception("refreshing %s", id)
                self.problems[id] = f"{type(error).__name__}: {error}"
            now = time.monotonic()
            known.due = now + max(REFRESH_SECONDS if known.moves else SETTLED_SECONDS, REST * (now - began))

    def cluster(self, patience: float = 3.0) -> ClusterState | None:
        """Workers, nights and HOLDs, looked at once for all readers; the last look while a new one takes long, ``None`` before the first.

        Raises:
            SweepError: they cannot be read.
        """
        with self._lock:
            asked = self._cluster
            if asked is None or (asked[1].done() and time.monotonic() - asked[0] > CLUSTER_SECONDS):
                asked = self._cluster = (time.monotonic(), self._watch.submit(self.answers.cluster))
        try:
            self._seen = asked[1].result(patience)
        except NotYet:
            pass
        return self._seen

    # -- sweeps -----------------------------------------------------------------------------------------------------------------

    def revision(self, sweep: str) -> Revision:
        """The newest revision of a sweep.

        Raises:
            UsageError: there is none of this name.
        """
        # looked up in the listing, so that no name leads out of the folder
        found = next((one for one in self.workspace.sweeps() if one.id == sweep), None)
        revision = newest(found) if found is not None else None
        if revision is None:
            raise NotHere("no such sweep in this workspace", found=sweep[:200], allowed=[one.id for one in self.workspace.sweeps()] or None)
        return revision

    def plan(self, revision: Revision) -> PlanFacts:
        """The facts of a revision's plan; read once."""
        version = (revision.number, self.browser.planned(revision.sweep.id))
        found = self.soon(("plan", revision.sweep.id), version, lambda: _facts(revision), patience=20.0)
        return PlanFacts({}) if isinstance(found, Pending) else found

    def planned(self, sweep: str, trial: str) -> PlannedTrial | None:
        """The planned trial, as the newest revision has it."""
        revision = self.revision(sweep)
        position = self.plan(revision).trials.get(trial)
        if position is None:
            return None
        for number, planned in enumerate(revision.plan()):
            if number == position:
                return planned
        return None

    def trial_id(self, prefix: str) -> str:
        """The trial whose id starts like this.

        Raises:
            UsageError: none or several do.
        """
        if not (4 <= len(prefix) <= 32 and all(letter in "0123456789abcdef" for letter in prefix)):
            raise UsageError("not the id of a trial", found=prefix[:80], allowed="4 to 32 digits of 0-9 and a-f")
        found = self.browser.ids(prefix)
        if len(found) != 1:
            raise NotHere(
                "several trials start like this" if found else "no trial starts like this", found=prefix, allowed=found[:10] or None
            )
        return found[0]

    def run_links(self, sweep: str) -> dict[str, str]:
        """{trial: page of its run in the MLflow UI}."""
        links = {}
        for trial, run in self.index.tracker_runs(sweep).items():
            experiment, _, id = run.partition("/")
            links[trial] = f"{self.mlflow}/#/experiments/{experiment}/runs/{id}"
        return links

    # -- answers that take long ---------------------------------------------------------------------------------------------------

    def soon(self, name: Hashable, version: Hashable, work: Callable[[], Any], *, patience: float = PATIENCE, slow: bool = False) -> Any:
        """What ``work`` returns, worked out once for a version; :class:`Pending` where it takes longer than ``patience``.

        Of each name the newest version is kept alone, so memory does not grow while a sweep moves on.

        Args:
            name: of the question.
            version: of what it is about.
            work: answers it, in a thread.
            patience: seconds to wait.
            slow: whether it may take minutes: such answers are worked out one after the other, and hold up no others.

        Raises:
            SweepError: ``work`` did.
        """
        with self._lock:
            known = self._kept.get(name)
            if known is None or known[0] != version:
                known = self._kept[name] = (version, (self._slow if slow else self._quick).submit(work))
            self._kept.move_to_end(name)
            while len(self._kept) > KEPT:
                self._before.pop(self._kept.popitem(last=False)[0], None)
        try:
            return known[1].result(patience)
        except NotYet:
            return Pending()
        except Exception:
            with self._lock:
                if self._kept.get(name) is known:
                    del self._kept[name]
            raise

    def latest(
        self, name: Hashable, version: Hashable, work: Callable[[], Any], *, patience: float = PATIENCE, slow: bool = False
    ) -> tuple[Any, bool]:
        """As :meth:`soon`, but the answer before this one stands in while it is worked out; with whether it is of this version.

        A version is begun when the one before it is through. So of a sweep that moves on faster than its table is made, readers see
        tables all the same, each a moment old.
        """
        with self._lock:
            known = self._kept.get(name)
            if known is not None and known[0] != version and known[1].done() and known[1].exception() is None:
                self._before[name] = known[1].result()
            if known is None or (known[0] != version and known[1].done()):
                known = self._kept[name] = (version, (self._slow if slow else self._quick).submit(work))
            before = self._before.get(name, Pending())
        if known[0] != version and not isinstance(before, Pending) and not known[1].done():
            return before, False
        found = self.soon(name, known[0], work, patience=patience, slow=slow)
        return (before, False) if isinstance(found, Pending) else (found, known[0] == version)

    def ready(self, name: Hashable, version: Hashable) -> Any:
        """This answer where it is there already, else ``None``."""
        with self._lock:
            known = self._kept.get(name)
        if known is None or known[0] != version or not known[1].done() or known[1].exception() is not None:
            return None
        return known[1].result()


def _facts(revision: Revision) -> PlanFacts:
    trials: dict[str, int] = {}
    values: dict[str, Counter[str]] = {}
    for position, planned in enumerate(revision.plan()):
        trials[planned.id] = position
        for path, text in flat(planned.config):
            values.setdefault(path, Counter())[text] += 1
    return PlanFacts(trials, {path: counts.most_common(1)[0][0] for path, counts in values.items()})


def flat(config: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """The leaves of a configuration as (dotted path, text), in order."""
    found: list[tuple[str, str]] = []
    for name, value in config.items():
        if isinstance(value, Mapping) and value:
            found += flat(value, f"{prefix}{name}.")
        else:
            text = "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
            found.append((prefix + name, text))
    return found
