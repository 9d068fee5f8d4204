"""Profiles: the nearest file wins for defaults, the strictest for limits, and a mistake is shown where it stands."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.errors import DefinitionError, UsageError
from core.workspace.layout import Sweep
from slurm.profile import Cluster, Profile, find, of_sweep


@pytest.fixture
def levels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """The three files; none exists yet."""
    project = tmp_path / "project"
    project.mkdir()
    monkeypatch.chdir(project)
    monkeypatch.setenv("SWEEP_SITE", str(tmp_path / "site.yaml"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    (tmp_path / "config" / "rewardsweep").mkdir(parents=True)
    return {
        "site": tmp_path / "site.yaml",
        "user": tmp_path / "config" / "rewardsweep" / "clusters.yaml",
        "project": project / "clusters.yaml",
    }


def test_this_machine_needs_no_file(levels: dict[str, Path]) -> None:
    assert find("local").profile.kind == "local"


def test_the_nearest_file_wins_key_by_key_and_the_strictest_limit_holds(levels: dict[str, Path]) -> None:
    levels["site"].write_text(
        "big:\n  kind: slurm\n  partition: gpu\n  time: 12h\n  env: {A: site, B: site}\n  limits: {workers: 32, submitted: 100}\n"
    )
    levels["user"].write_text("big:\n  account: mine\n  time: 2h\n  env: {B: user}\n  limits: {workers: 200}\n")
    levels["project"].write_text("big:\n  account: project\n  limits: {submitted: 50}\n")
    profile = find("big").profile
    assert (profile.partition, profile.account, profile.time) == ("gpu", "project", 7200)
    assert profile.env == {"A": "site", "B": "user"}
    assert (profile.limits.workers, profile.limits.submitted) == (32, 50)


def test_values_are_read_as_written(levels: dict[str, Path]) -> None:
    levels["project"].write_text(
        "c:\n  kind: slurm\n  time: 12:30:00\n  memory: 64G\n  qos: no\n  sbatch: {mail_type: END, exclusive: true}\n"
    )
    profile = find("c").profile
    assert (profile.time, profile.memory, profile.qos) == (45000, 64, "no")
    assert profile.sbatch == {"mail-type": "END", "exclusive": "true"}


def test_an_unknown_cluster_is_answered_with_those_that_exist(levels: dict[str, Path]) -> None:
    levels["site"].write_text("jupiter: {kind: slurm}\n")
    with pytest.raises(UsageError) as error:
        find("jupyter")
    assert error.value.nearest == "jupiter"
    assert "local" in (error.value.allowed or "")


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("c:\n  kind: slurm\n  partion: gpu\n", 3, "partition"),
        ("c:\n  kind: slurm\n  limits:\n    worker: 3\n", 4, "workers"),
        ("c:\n  kind: slurm\n  limits:\n    workers: many\n", 4, "integer"),
        ("c:\n  kind: slurm\n  time: 5 parsecs\n", 3, "duration"),
        ("c:\n  kind: slurm\n  sbatch: {array: 0-9}\n", 3, "array"),
        ("c:\n  kind: pbs\n", 2, "slurm"),
        ("c:\n  kind: local\n  partition: gpu\n", 1, "partition"),
        ("c:\n  partition: gpu\n", 1, "c.kind is missing"),
        ("c: gpu\n", 1, "mapping"),
    ],
)
def test_a_mistake_is_shown_with_its_line(levels: dict[str, Path], text: str, line: int, words: str) -> None:
    levels["project"].write_text(text)
    with pytest.raises(DefinitionError) as error:
        find("c")
    assert words in str(error.value)
    assert f"clusters.yaml:{line}" in str(error.value)


def test_a_mistake_in_a_site_file_is_shown_there_even_where_a_nearer_file_overrides_it(levels: dict[str, Path]) -> None:
    levels["site"].write_text("c:\n  kind: slurm\n  time: 5 parsecs\n")
    levels["project"].write_text("c:\n  time: 4h\n")
    with pytest.raises(DefinitionError) as error:
        find("c")
    assert "site.yaml:3" in str(error.value)


def test_a_sweep_keeps_the_profile_that_it_was_launched_with(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path / "sweeps" / "s")
    assert of_sweep(sweep).name == "local"
    chosen = Cluster("big", Profile.model_validate({"kind": "slurm", "time": "2h", "memory": "900M", "sbatch": {"nice": "5"}}))
    chosen.save(sweep)
    assert of_sweep(sweep) == chosen
