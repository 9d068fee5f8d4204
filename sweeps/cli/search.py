"""``sweep search``: what a search has found, as a table, as plots, and as a study for optuna-dashboard."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

import typer

from core.control.search.study import SearchState, Study
from core.control.tick import SweepReader
from core.definition.space import Space
from core.errors import UsageError
from core.workspace.files import fault
from core.workspace.registration import resolve
from sweeps.cli.common import JsonOption, SweepArgument, WorkspaceOption, hint, open_workspace, print_json, say, table

StudyOption = Annotated[
    str | None, typer.Option("--study", metavar="CELL", help="Of several searches, the one at this cell of the grid.", show_default=False)
]


def add_to(app: typer.Typer) -> None:
    """Add the commands of this file."""
    group = typer.Typer(no_args_is_help=True, help="What a search has found.", rich_markup_mode=None)
    group.command(name="show")(show)
    group.command(name="plot")(plot)
    group.command(name="export")(export)
    app.add_typer(group, name="search")


def _search(workspace: Path | None, sweep: str) -> tuple[SweepReader, SearchState, Space]:
    from sweeps import wiring
    from sweeps.searching import require_search

    place = open_workspace(workspace)
    found = resolve(place, sweep)
    require_search(place, found)
    reader = wiring.reader(place, found)
    state = reader.state().search
    assert state is not None and reader.search is not None and reader.search.definition.space is not None
    return reader, state, reader.search.definition.space


def show(sweep: SweepArgument, study: StudyOption = None, workspace: WorkspaceOption = None, json: JsonOption = False) -> int:
    """List what was suggested, the best first, and how much each parameter matters."""
    from core.control.search.importance import importances
    from sweeps.search_words import lines, state_json, study_of

    reader, state, space = _search(workspace, sweep)
    chosen = [study_of(state, study)] if study is not None else list(state.studies)
    if json:
        value = {"schema": 1, "sweep": reader.revision.sweep.id, **state_json(state)}
        names = {one.name for one in chosen}
        value["studies"] = [
            {**one, "importance": importances(state, known, space)}
            for one, known in zip(value["studies"], state.studies, strict=True)
            if one["study"] in names
        ]
        print_json(value)
        return 0
    for line in lines(state):
        say(line)
    for one in chosen:
        say()
        _table(state, one, space, title=one.name if len(state.studies) > 1 else None)
        shares = importances(state, one, space)
        if shares:
            say("importance: " + ", ".join(f"{name} {100 * share:.0f} %" for name, share in shares.items()) + "  (PED-ANOVA)")
    return 0


def _table(state: SearchState, study: Study, space: Space, title: str | None) -> None:
    names = [parameter.name for parameter in space.parameters]
    ranked = state.best(study)
    rest = [item for item in study.suggestions if item.values is None]
    rows = []
    for item in [*ranked, *rest]:
        last = f"{item.curve[-1][1]:.4g} at {item.curve[-1][0]} %" if item.curve and item.values is None else ""
        values = [f"{value:.4g}" for value in item.values] if item.values is not None else [last] + [""] * (len(state.objectives) - 1)
        chosen = [item.chosen.get(name, "") for name in names]
        shown = [value if isinstance(value, str) else f"{value:g}" for value in chosen]
        rows.append([item.number, item.planned.id[:10], *shown, item.told, *values, item.reason])
    table(["no", "trial", *names, "state", *(objective.metric for objective in state.objectives), "why"], rows, title=title)


def plot(
    sweep: SweepArgument,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the pictures; it is made.", show_default=False)],
    format: Annotated[Literal["svg", "png"], typer.Option("--format", "-f", help="Kind of picture.")] = "svg",
    width: Annotated[Literal["half", "full"], typer.Option("--width", help="One or both columns of a paper.")] = "full",
    study: StudyOption = None,
    workspace: WorkspaceOption = None,
) -> int:
    """Draw history, importance, parallel coordinates and slices."""
    from core.control.search.importance import importances
    from dashboards.plots import Look
    from sweeps.search_plots import pictures
    from sweeps.search_words import study_of

    _, state, space = _search(workspace, sweep)
    one = study_of(state, study)
    made = pictures(state, one, space, importances(state, one, space), Look(width=width, format=format))
    written = []
    try:
        output.mkdir(parents=True, exist_ok=True)
        for name, picture in made.items():
            file = output / f"{name}.{format}"
            file.write_bytes(picture)
            written.append(str(file))
    except OSError as error:
        raise fault(error, output) from error
    for name in written:
        say(name)
    return 0


def export(
    sweep: SweepArgument,
    output: Annotated[Path, typer.Option("--output", "-o", help="The SQLite file to write.", show_default=False)],
    force: Annotated[bool, typer.Option("--force", help="Overwrite a file that is there.")] = False,
    workspace: WorkspaceOption = None,
) -> int:
    """Write the search as Optuna studies into a SQLite file, for optuna-dashboard or a notebook."""
    import optuna

    from core.control.search.sampler import rebuild

    reader, state, space = _search(workspace, sweep)
    if output.exists() and not force:
        raise UsageError("the file is there already", found=str(output), next="--force to overwrite it")
    if not output.absolute().parent.is_dir():
        raise UsageError("there is no such folder", found=str(output.parent))
    staging = output.with_name(f".{output.name}.{os.getpid()}")
    name = reader.revision.sweep.id
    try:
        storage = optuna.storages.RDBStorage(f"sqlite:///{staging.absolute()}")
        for one in state.studies:
            rebuild(state, one, space, storage, name=name if len(state.studies) == 1 else f"{name}: {one.name}")
        storage.engine.dispose()
        os.replace(staging, output)
    except OSError as error:
        raise fault(error, output) from error
    finally:
        staging.unlink(missing_ok=True)
    hint(f"wrote {output}")
    say(f"next: optuna-dashboard sqlite:///{output}")
    return 0
