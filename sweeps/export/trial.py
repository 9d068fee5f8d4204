"""From a trial of the workspace to an exported folder."""

from __future__ import annotations

from pathlib import Path

from core import registry
from core.definition.plan import PlannedTrial
from core.definition.trial import TrialConfig
from core.errors import IntegrityError, UsageError
from core.workspace.files import manifest_of, read_json, verify
from core.workspace.layout import Trial, Workspace
from core.workspace.registration import newest
from sweeps.export.card import model_card


def export_trial(workspace: Workspace, trial: Trial, sweep: str, target: Path) -> None:
    """Write the published model of a trial to a new folder.

    Args:
        workspace: where the trial lies.
        trial: the trial.
        sweep: the newest sweep that plans it; "" where none does.
        target: a new or empty folder.

    Raises:
        UsageError: the trial has no result yet, trained nothing, or the folder is there already.
        DefinitionError: the model has components of one's own.
        IntegrityError: the result is damaged.
        EnvironmentFault: the frozen parts of the backbone are not on this machine, or the folder cannot be written.
    """
    from core.models.reward_model import load_reward_model
    from sweeps.export.folder import refuse_existing, write_folder

    if manifest_of(trial.result) is None:
        raise UsageError("this trial has no result to export", found=trial.id[:10], next=f"sweep explain {trial.id[:10]}")
    refuse_existing(target)
    problems = verify(trial.result)
    if problems:
        raise IntegrityError("the result of this trial is damaged", found=problems[0], next=f"sweep explain {trial.id[:10]}")
    planned = _planned(workspace, trial, sweep)
    config = TrialConfig.model_validate(dict(planned.config) if planned is not None else read_json(trial.config))
    if config.task != "reward_model":
        raise UsageError(
            "only what was trained here is exported",
            found=f"task {config.task}" + (f" of {config.backbone.name}" if config.task == "external" else ""),
            allowed="a trial of the task reward_model",
        )
    scores = [read_json(path) for path in sorted((trial.folder / "scores").glob("*/summary.json"))]
    scores.sort(key=lambda summary: (summary["benchmark"], summary["revision"]))
    card = model_card(trial.id, config, planned.cell if planned is not None else None, read_json(trial.result / "metrics.json"), scores)
    write_folder(target, load_reward_model(trial.result / "weights"), card)


def _planned(workspace: Workspace, trial: Trial, sweep: str) -> PlannedTrial | None:
    """The trial as its sweep plans it, with the sweep's own components loaded."""
    revision = newest(workspace.sweep(sweep)) if sweep else None
    if revision is None:
        return None
    registry.load_code(revision.code())
    return next((planned for planned in revision.plan() if planned.id == trial.id), None)
