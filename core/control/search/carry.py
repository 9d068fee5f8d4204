"""Carrying out the steps of a search. Each is idempotent, or guarded where it is written: two passes at once do it once."""

from __future__ import annotations

from dataclasses import replace

from core.control.search.read import EXHAUSTED, REPLICATE, SUGGESTION, SearchReader, benchmark_key
from core.control.search.steps import Ask, Prune, Replicate, Step
from core.control.search.study import SearchState, Study, Suggestion
from core.definition.identity import with_seed
from core.definition.plan import PlannedTrial
from core.definition.searched import suggested
from core.definition.space import Chosen
from core.errors import DefinitionError
from core.workspace.layout import Workspace
from core.workspace.registration import newest
from core.workspace.requests import asked, drop


def carry_out(reader: SearchReader, search: SearchState, step: Step) -> bool:
    """Do a step; returns whether the plan has gained a trial.

    Raises:
        DefinitionError: every cell that was suggested is no valid configuration; the last one's error.
    """
    if isinstance(step, Prune):
        _prune(reader, step)
        return False
    if isinstance(step, Replicate):
        planned = with_seed(step.planned, step.seed)
        return reader.log.append(REPLICATE, why=step.why, trials=[planned], facts={"study": step.study, "of": step.planned.id})
    return _ask(reader, search, step)


def _prune(reader: SearchReader, step: Prune) -> None:
    trial = reader.workspace.trial(step.trial)
    if asked(trial).stop is None and not wanted_elsewhere(reader.workspace, reader.revision.sweep.id, step.trial):
        drop(trial, "prune", step.why)


def wanted_elsewhere(workspace: Workspace, sweep: str, trial: str) -> bool:
    """Whether the newest revision of another sweep plans this trial: it is not ours alone to stop."""
    others = (newest(other) for other in workspace.sweeps() if other.id != sweep)
    return any(planned.id == trial for revision in others if revision is not None for planned in revision.plan())


def _ask(reader: SearchReader, search: SearchState, step: Ask) -> bool:
    from core.control.search.sampler import propose

    space = reader.definition.space
    assert space is not None
    point = reader.points[step.study]
    study = next(study for study in search.studies if study.name == step.study)
    total = search.config.n_cells
    grew = False
    for _ in range(step.count):
        trying = _Trying(reader, study)
        proposal = propose(search, study, space, point.cell, trying.accept)
        if proposal is None:
            if trying.error is not None:
                raise trying.error
            why = f"no cell is left that was not suggested before, after {len(study.suggestions)} of {total}"
            reader.log.append(EXHAUSTED, why=why, facts={"study": study.name})
            break
        assert trying.planned is not None
        number = len(study.suggestions) + 1
        facts = {"study": study.name, "chosen": proposal.chosen, "attrs": proposal.attrs, "shared": proposal.shared}
        why = f"suggested by {search.config.sampler} as number {number} of {total}" + (f" at {study.name}" if point.cell else "")
        if not reader.log.append(SUGGESTION, why=why, trials=[trying.planned], facts=facts):
            break  # another pass has added something: decide anew
        grew = True
        added = Suggestion(number, trying.planned, proposal.chosen, attrs=proposal.attrs, shared=proposal.shared)
        study = replace(study, suggestions=[*study.suggestions, added])
    return grew


class _Trying:
    """Judges the sampler's choices: a cell that was suggested before, or that `exclude` drops, is not taken."""

    def __init__(self, reader: SearchReader, study: Study) -> None:
        self.planned: PlannedTrial | None = None
        self.error: DefinitionError | None = None
        self._reader = reader
        self._point = reader.points[study.name]
        self._known = {item.planned.id for item in study.suggestions}

    def accept(self, chosen: Chosen) -> bool:
        """Whether the choice is a new cell; :attr:`planned` is then its trial."""
        try:
            planned = suggested(self._reader.definition, self._point, chosen)
        except DefinitionError as error:
            self.error = error
            return False
        if planned is None or planned.id in self._known:
            return False
        from core.evaluation.benchmarks import unreadable

        backbone = planned.config["backbone"]["name"]
        asked_for = [entry for entry in planned.evaluate if unreadable(backbone, entry["name"]) is None]
        revisions = self._reader.revision.meta["search"]["revisions"]
        evaluate = tuple({"benchmark": dict(entry), "revision": revisions[benchmark_key(entry)]} for entry in asked_for)
        self.planned = replace(planned, evaluate=evaluate)
        return True
