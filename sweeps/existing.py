"""What a workspace holds already: which trials stand, which are stale, and what is said beside a result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from core.control.decide import TrialStatus
from core.control.tick import data_key
from core.definition.plan import PlannedTrial
from core.errors import EnvironmentFault, IntegrityError
from core.workspace import fingerprints
from core.workspace.files import MANIFEST, read_json
from core.workspace.layout import Workspace

TrialAction = Literal["new", "reused", "stale", "blocked"]


class Existing:
    """What a workspace holds already, asked once per folder of trials."""

    def __init__(self, workspace: Workspace | None, code: Sequence[Path]) -> None:
        self.workspace = workspace
        self._known: set[str] = set()
        if workspace is not None:
            self._known = workspace.trial_ids()
        if code:
            from core import registry

            registry.load_code(list(code))
        self._code = fingerprints.code_fingerprint(code) if self._known else ""
        self._data: dict[str, str | None] = {}

    def action(self, planned: PlannedTrial) -> TrialAction:
        """What a trial needs: nothing where its result stands and is of the same code and data."""
        if self.workspace is None or planned.id not in self._known:
            return "new"
        result = self.workspace.trial(planned.id).result
        if not (result / MANIFEST).exists():
            return "new"
        return "stale" if self.is_stale(planned, read_json(result / "metrics.json")) else "reused"

    def with_needs(self, planned: PlannedTrial, action: TrialAction) -> TrialAction:
        """The action of a trial that is blocked while what it needs has no result."""
        if action != "new":
            return action
        lacking = [id for id in planned.needed_trials if id not in self._known or not self._has_result(id)]
        return "blocked" if planned.waits is not None or lacking else "new"

    def _has_result(self, id: str) -> bool:
        assert self.workspace is not None
        return (self.workspace.trial(id).result / MANIFEST).exists()

    def is_stale(self, planned: PlannedTrial, record: Mapping[str, Any]) -> bool:
        """Whether a result is of other code, or of other data than lie here now (data that are not here prove nothing)."""
        if record["fingerprints"]["code"] != self._code:
            return True
        now = self._data_now(planned, record["data"] if "data" in record else data_key(planned))
        return now is not None and record["fingerprints"].get("data") != now

    def _data_now(self, planned: PlannedTrial, key: str) -> str | None:
        if not key:
            return None
        if key not in self._data:
            from core.data import data_fingerprint
            from core.definition.trial import TrialConfig

            try:
                self._data[key] = data_fingerprint(TrialConfig.model_validate(dict(planned.config)))
            except EnvironmentFault:
                self._data[key] = None
        return self._data[key]


def flags_of(existing: Existing, status: TrialStatus) -> list[str]:
    """Flags beside a trial's state: ``stale`` where its result is of other code or data, and those of its result."""
    assert existing.workspace is not None
    if status.record is not None:
        return [*(["stale"] if existing.is_stale(status.planned, status.record) else []), *status.record["flags"]]
    result = existing.workspace.trial(status.planned.id).result
    if status.train.state != "completed" or not (result / MANIFEST).exists():
        return list(status.train.remedy.flags)
    try:
        record = read_json(result / "metrics.json")
        flags, _ = list(record["flags"]), record["fingerprints"]["code"]
    except (IntegrityError, KeyError, TypeError):  # one damaged result hides no other
        return ["corrupt"]
    return [*(["stale"] if existing.is_stale(status.planned, record) else []), *flags]
