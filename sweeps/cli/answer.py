"""``report``, ``claims``, ``compare``, ``score``: the table at the end, what it shows, two cells against each other, one benchmark."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from core.errors import IntegrityError, TrialFailed, UsageError, nearest
from core.workspace.files import fault, write_atomic
from core.workspace.layout import Workspace
from core.workspace.registration import Revision, resolve
from sweeps.cli.common import (
    JsonOption,
    SweepArgument,
    WorkspaceOption,
    counting,
    find_trial,
    hint,
    open_workspace,
    print_json,
    say,
    table,
    text_width,
)

if TYPE_CHECKING:
    from core.definition.trial import TrialConfig

Format = Literal["text", "markdown", "latex", "csv", "json", "html"]


def add_to(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(report)
    app.command()(claims)
    app.command()(compare)
    app.command()(score)


def report(
    sweep: SweepArgument,
    format: Annotated[Format, typer.Option("--format", "-f", help="How it is written.")] = "text",
    metrics: Annotated[
        list[str] | None, typer.Option("--metrics", "-m", help="Columns, with * and ?; default: the headline metrics.", show_default=False)
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write to a file instead.", show_default=False)] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Read no score tables: no intervals and tests over examples.")] = False,
    workspace: WorkspaceOption = None,
    json: JsonOption = False,
) -> int:
    """Print the report of a sweep: a row per cell beside the reported value, why cells are missing, what each axis does, what it costs."""
    place = open_workspace(workspace)
    text = _render(place, resolve(place, sweep), "json" if json else format, metrics, output is None, quick=quick)
    if output is None:
        print(text, end="" if text.endswith("\n") else "\n")
        return 0
    if not output.parent.is_dir():
        raise UsageError("there is no such folder", found=str(output.parent))
    write_atomic(output, text if text.endswith("\n") else text + "\n")
    hint(f"wrote {output}")
    return 0


def print_report(place: Workspace, revision: Revision) -> None:
    """The table at the end of a launch."""
    say()
    say(_render(place, revision, "text", None, True).rstrip("\n"))


def _render(
    place: Workspace, revision: Revision, format: Format, metrics: list[str] | None, to_terminal: bool, *, quick: bool = False
) -> str:
    from dashboards.report import render
    from sweeps.reporting import gather

    with counting() as progress:
        found = gather(place, revision, examples=not quick, progress=progress)
    extras = None
    if format == "html":
        from sweeps.page import extras_of

        extras = extras_of(place, revision, metrics or [])
    return render(found, format, metrics=metrics, terminal=to_terminal, extras=extras)


def claims(sweep: SweepArgument, workspace: WorkspaceOption = None, json: JsonOption = False) -> int:
    """Say of each claim of a definition whether it is supported, contradicted or undecided; exit code 1 if one is contradicted."""
    from core.analysis.verdicts import to_json
    from dashboards.report.claims import claim_lines, legend
    from sweeps.reporting import gather

    place = open_workspace(workspace)
    revision = resolve(place, sweep)
    with counting() as progress:
        found = gather(place, revision, progress=progress)
    if json:
        about = {"schema": 1, "sweep": found.sweep, "revision": revision.number, "rehearsal": found.rehearsal}
        print_json({**about, "claims": to_json(found.claims)})
    elif not found.claims:
        say(f"{found.sweep} claims nothing: its definition has no `claims`")
    else:
        say(f"{found.sweep}: {len(found.claims)} claim{'s' if len(found.claims) > 1 else ''}" + ("  REHEARSAL" if found.rehearsal else ""))
        say()
        for line in [*claim_lines(found.claims, text_width()), "", legend(len(found.claims))]:
            say(line)
    return 1 if any(one.word == "contradicted" for one in found.claims) else 0


def compare(
    a: Annotated[str, typer.Argument(metavar="A", help="A sweep, one of its cells (SWEEP:PATH=VALUE,...), a trial.", show_default=False)],
    b: Annotated[str, typer.Argument(metavar="B", help="The same; :PATH=VALUE,... is of A's sweep.", show_default=False)],
    metrics: Annotated[
        list[str] | None, typer.Option("--metric", "-m", help="With * and ?; default: the headline metrics.", show_default=False)
    ] = None,
    workspace: WorkspaceOption = None,
    json: JsonOption = False,
) -> int:
    """Say which of two is better, and how sure that is: paired by example and by seed; refuses what is not comparable."""
    from core.analysis.compare import to_json
    from dashboards.report.comparison import render_comparisons
    from sweeps.comparing import compare_named

    place = open_workspace(workspace)
    with counting() as progress:
        found = compare_named(place, a, b, metrics or [], progress)
    if json:
        print_json({"schema": 1, "a": a, "b": b, "comparisons": to_json(found.comparisons), "only_a": found.only_a, "only_b": found.only_b})
        return 0
    say(render_comparisons(found.comparisons, only=(found.only_a, found.only_b)).rstrip("\n"))
    return 0


def score(
    benchmark: Annotated[str, typer.Option("--benchmark", "-b", help="Name of the benchmark.", show_default=False)],
    baseline: Annotated[
        str | None, typer.Option("--baseline", help="Score with a baseline: length, random or constant.", show_default=False)
    ] = None,
    trial: Annotated[str | None, typer.Option("--trial", help="Score with a trained trial of the workspace.", show_default=False)] = None,
    model: Annotated[
        Path | None, typer.Option("--model", help="Score with a published model: a folder with reward_model.json.", show_default=False)
    ] = None,
    data: Annotated[
        Path | None, typer.Option("--data", help="The benchmark's file.  [default: below $SWEEP_DATA]", show_default=False)
    ] = None,
    media: Annotated[
        Path | None, typer.Option("--media", help="Folder of its images.  [default: the file's folder]", show_default=False)
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the ScoreTable (Parquet) here too.", show_default=False)
    ] = None,
    workspace: WorkspaceOption = None,
    json: JsonOption = False,
) -> int:
    """Score a benchmark with a baseline, a trained trial or a published model, and print its metrics (percent).

    With --output, a scoring that was stopped goes on where it was when the same command is given again.
    """
    from core import registry
    from core.evaluation.scorer import score_baseline, summarise

    config: dict[str, Any] = {"name": benchmark, "data": str(data) if data else None, "media": str(media) if media else None}
    if data is not None and not data.is_file():
        raise UsageError("there is no such file", found=str(data))
    if sum(scorer is not None for scorer in (baseline, trial, model)) != 1:
        raise UsageError("name one scorer", allowed="--baseline NAME, --trial ID or --model FOLDER")
    known = registry.names("benchmark")
    if benchmark not in known:
        raise UsageError("no such benchmark", found=benchmark, allowed=known, nearest=nearest(benchmark, known))
    if baseline is not None:
        result = score_baseline(baseline, config)
    else:
        unfinished = None if output is None else output.with_name(f".{output.name}.unfinished")
        if model is not None:
            result = _with_model(model, config, unfinished)
        else:
            result = _with_trial(open_workspace(workspace), str(trial), config, unfinished)
    if output is not None:
        try:
            result.write(output)
        except OSError as error:
            raise fault(error, output) from error
        output.with_name(f".{output.name}.unfinished").unlink(missing_ok=True)
    summary = summarise(result)
    if json:
        print_json(summary)
        return 0
    partial = summary["partial"]
    note = f", partial: {partial['skipped']} without their media were skipped" if partial else ""
    say(f"{benchmark} ({summary['revision']}), {summary['n']} examples{note}")
    table(["metric", "%"], [[name, "-" if value is None else f"{value:.2f}"] for name, value in summary["metrics"].items()])
    return 0


def _with_trial(place: Workspace, prefix: str, config: dict[str, Any], unfinished: Path | None) -> Any:
    from core.definition.trial import TrialConfig
    from core.workspace.files import MANIFEST, read_json

    trial, _ = find_trial(place, prefix)
    if not (trial.result / MANIFEST).exists():
        raise UsageError("this trial has no result yet", found=trial.id[:10], next=f"sweep explain {trial.id[:10]}")
    own = TrialConfig.model_validate(read_json(trial.config))
    return _scored(trial.result / "weights", own, config, f"trial:{trial.id}", unfinished)


def _with_model(folder: Path, config: dict[str, Any], unfinished: Path | None) -> Any:
    from core.definition.trial import TrialConfig
    from core.workspace.files import read_json

    weights = next((place for place in (folder, folder / "weights", folder / "result" / "weights") if _is_model(place)), None)
    if weights is None:
        raise UsageError(
            "no published model lies here",
            found=str(folder),
            allowed="a folder with reward_model.json, such as the weights of a trial's result",
        )
    own = TrialConfig.model_validate(read_json(weights / "reward_model.json")["config"])
    return _scored(weights, own, config, f"model:{weights.resolve()}", unfinished)


def _is_model(folder: Path) -> bool:
    return (folder / "reward_model.json").is_file()


def _scored(weights: Path, own: TrialConfig, config: dict[str, Any], scorer: str, unfinished: Path | None) -> Any:
    from core.evaluation.scorer import score_trial
    from slurm.local import cores_here, gpus_here

    if own.rehearsal is not None and config["data"] is not None:
        raise UsageError(
            "a rehearsal's trial is scored on the generated stand-in of a benchmark", found=config["data"], next="leave --data out"
        )
    try:
        return score_trial(
            weights, own, config, scorer=scorer, device="cuda" if gpus_here() else "cpu", threads=cores_here(),
            on_progress=lambda done, total: hint(f"scored {done}/{total}"), unfinished=unfinished,
        )  # fmt: skip
    except TrialFailed as error:
        raise IntegrityError(f"the scoring failed ({error.cause}): {error.message}", found=str(weights)) from error
