"""``export``: what others get of a trial."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sweeps.cli.common import WorkspaceOption, find_trial, hint, open_workspace, say
from sweeps.cli.look import TrialArgument


def add_to(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(export)


def export(
    trial: TrialArgument,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="A new or empty folder.", show_default=False)],
    workspace: WorkspaceOption = None,
) -> int:
    """Write a trained model as a Hugging Face folder with a model card; one small file in it loads it without RewardSweep."""
    from sweeps.export.trial import export_trial

    place = open_workspace(workspace)
    found, sweep = find_trial(place, trial)
    export_trial(place, found, sweep, output)
    size = sum(file.stat().st_size for file in output.iterdir() if file.is_file())
    say(f"wrote {output} ({size / 1e6:,.1f} MB)")
    hint(f'next: cd {output} && python -c \'from reward_model import RewardModel; print(RewardModel().score("Hi", ["Hello!", "No."]))\'')
    return 0
