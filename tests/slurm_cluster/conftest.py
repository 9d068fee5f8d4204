"""A cluster for all tests of this folder, and a study that runs on it."""

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

PROFILE = """\
test:
  kind: slurm
  partition: low
  time: 10min
  limits: {workers: 2, calls_per_minute: 60}
"""
ARRAY_SIZE = 3
"""MaxArraySize: five workers are two arrays."""


@dataclass
class ClusterStudy(Study):
    """A study with a profile of the test cluster."""

    conf: Path

    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def environment(self) -> dict[str, str]:
        return {**super().environment(), "SLURM_CONF": str(self.conf)}

    def start(self, *words: str, **more: Any) -> subprocess.Popen[str]:
        self.started.append(super().start(*words, **more))
        return self.started[-1]

    def end(self) -> None:
        """End the commands that a failed test left behind."""
        for process in self.started:
            if process.poll() is None:
                process.kill()
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
    made = ClusterStudy(tmp_path, cluster.conf)
    made.write()
    (tmp_path / "clusters.yaml").write_text(PROFILE, encoding="utf-8")
    yield made
    made.end()
    cluster.run("scancel", "--full", "--user", "root")
