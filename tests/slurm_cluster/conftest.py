"""A cluster for all tests of this folder that one process runs, and a study that runs on it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cluster import Cluster, missing
from tests_launch import Study

from core.workspace.files import write_atomic

PROFILE = """\
test:
  kind: slurm
  partition: low
  time: 10min
  limits: {workers: 2, calls_per_minute: 60}
"""
SLOW = """\
import os
import time
from pathlib import Path

from core.definition.fields import execution
from core.definition.trial import LossTermConfig
from core.registry import register


class SlowConfig(LossTermConfig):
    seconds: float = execution(0.0, ge=0, unit="seconds", doc="how long a forward pass waits; no part of what is computed")


def slow(batch, config):
    pace = os.environ.get("PACE")  # a file by which a test holds the trials back, all of them at any moment
    time.sleep(float(Path(pace).read_text()) if pace else config.seconds)
    return batch.chosen * 0.0


register("loss", "slow", SlowConfig, "slow:slow")
"""
"""Trials must be there long enough to be hit, at no cost of the two cores that everything here runs on."""
ARRAY_SIZE = 3
"""MaxArraySize: five workers are two arrays."""


@dataclass
class ClusterStudy(Study):
    """A study with a profile of the test cluster."""

    conf: Path

    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def environment(self) -> dict[str, str]:
        own = {"SLURM_CONF": str(self.conf)} | ({"PACE": str(self._pace)} if self._pace.exists() else {})
        return {**super().environment(), **own}

    @property
    def _pace(self) -> Path:
        return self.folder / "pace"

    def pace(self, seconds: float) -> None:
        """How long each forward pass of the loss ``slow`` waits from now on, in every trial."""
        write_atomic(self._pace, str(seconds))

    def start(self, *words: str, **more: Any) -> subprocess.Popen[str]:
        self.started.append(super().start(*words, **more))
        return self.started[-1]

    def end(self) -> None:
        """End the commands that a failed test left behind."""
        for process in self.started:
            if process.poll() is None:
                process.kill()
            if process.stdout is not None and not process.stdout.closed:
                process.communicate()


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    why = missing()
    if why is not None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"continuous integration runs these tests: {why}")
        pytest.skip(why)
    made = Cluster(tmp_path_factory.mktemp("slurm") / "cluster", array_size=ARRAY_SIZE)
    try:
        made.up()
        yield made
    finally:
        made.down()


@pytest.fixture
def study(tmp_path: Path, cluster: Cluster) -> Iterator[ClusterStudy]:
    yield from _study(tmp_path, cluster, PROFILE)


@pytest.fixture
def bad_night(tmp_path: Path, cluster: Cluster) -> Iterator[ClusterStudy]:
    """A study of forty trials; afterwards every node and daemon is there again."""
    from test_big_drill import DEFINITION as FORTY
    from test_big_drill import PROFILE as SIX

    (tmp_path / "night").mkdir()
    try:
        for made in _study(tmp_path / "night", cluster, SIX):
            made.write(FORTY, "forty")
            (made.folder / "slow.py").write_text(SLOW, encoding="utf-8")
            made.pace(0.5)
            yield made
    finally:
        cluster.up()


def _study(folder: Path, cluster: Cluster, profile: str) -> Iterator[ClusterStudy]:
    made = ClusterStudy(folder, cluster.conf)
    made.write()
    (folder / "clusters.yaml").write_text(profile, encoding="utf-8")
    yield made
    made.end()
    cluster.run("scancel", "--full", "--user", "root")
