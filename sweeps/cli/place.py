"""``doctor`` and ``ui``: is this place in order, and where can the results be looked at."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from sweeps.cli.common import JsonOption, WorkspaceOption, open_workspace, print_json, table
from sweeps.wiring import workspace_root


def add_to(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(doctor)
    app.command()(ui)


def doctor(
    cluster: Annotated[
        str | None, typer.Option("--cluster", metavar="NAME", help="Check this cluster and its profile as well.", show_default=False)
    ] = None,
    workspace: WorkspaceOption = None,
    json: JsonOption = False,
) -> int:
    """Check the installation and this machine, or a cluster; exit code 3 where something must be mended first."""
    from slurm import checks, driving
    from slurm.profile import find
    from sweeps.doctor import Finding, examine

    chosen = find(cluster) if cluster is not None else None
    findings = list(examine(workspace_root(workspace)))
    if chosen is not None:
        for check in checks.examine(chosen, workspace_root(workspace)):
            findings.append(Finding(**vars(check)))
            if check.check == "submit from nodes":
                driving.remember(chosen, check.found)
    if json:
        print_json([asdict(finding) for finding in findings])
    else:
        table(["check", "", "found", "next"], [[f.check, f.verdict, f.found, f.next] for f in findings])
    return 3 if any(finding.verdict == "bad" for finding in findings) else 0


def ui(
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", help="Port of the dashboard.")] = 5001,
    mlflow_port: Annotated[int, typer.Option("--mlflow-port", help="Port of the MLflow UI, on this machine only.")] = 5000,
    mlflow: Annotated[bool, typer.Option("--mlflow/--no-mlflow", help="Start the MLflow UI too.")] = True,
    workspace: WorkspaceOption = None,
) -> int:
    """Open the dashboard and the MLflow UI on the workspace's sweeps, and print their links; Ctrl-C ends both."""
    from dashboards.web.serve import serve
    from sweeps.dashboard import HouseAnswers
    from sweeps.reporting import open_index

    place = open_workspace(workspace)
    with open_index(place) as index:
        serve(place, index, HouseAnswers(place), host=host, port=port, mlflow_port=mlflow_port, mlflow=mlflow)
    return 0
