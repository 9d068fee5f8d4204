"""The index in a real PostgreSQL server, which is started in a folder of its own."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.store import Index
from core.workspace.layout import Workspace
from tests.store.test_index import check_two_at_once, filled, shown

pytestmark = pytest.mark.postgres
BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin")) if Path("/usr/lib/postgresql").is_dir() else []


def _binaries() -> Path:
    if BINARIES:
        return BINARIES[-1]
    found = shutil.which("initdb")
    if found is None:
        reason = "PostgreSQL's server is not installed (initdb is neither on the path nor under /usr/lib/postgresql)"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return Path(found).parent


def _unprivileged() -> str | None:
    """PostgreSQL refuses to run as root: another user runs it then."""
    if os.geteuid() != 0:
        return None
    names = {user.pw_name for user in pwd.getpwall()}
    if shutil.which("runuser") is None or not names & {"postgres", "nobody"}:
        pytest.skip("PostgreSQL does not run as root, and there is no other user to run it as")
    return "postgres" if "postgres" in names else "nobody"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The URL of a private server on a loopback port."""
    binaries, user = _binaries(), _unprivileged()
    folder = Path(tempfile.mkdtemp(prefix="rewardsweep-postgres-"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    if user is not None:
        shutil.chown(folder, user)

    def run(*command: str) -> None:
        words = ["runuser", "-u", user, "--", *command] if user is not None else list(command)
        done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr

    data = str(folder / "data")
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
    try:
        run(str(binaries / "initdb"), "-D", data, "-U", "sweeper", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
        run(str(binaries / "pg_ctl"), "-D", data, "-o", options, "-l", str(folder / "log"), "-w", "start")
        try:
            yield f"postgresql://sweeper@127.0.0.1:{port}/postgres"
        finally:
            run(str(binaries / "pg_ctl"), "-D", data, "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path / "runs", create=True)


def test_postgresql_answers_as_sqlite_does(place: Workspace, server: str) -> None:
    filled(place)
    with Index.open(place) as local, Index.open(place, server) as shared:
        local.sync(place)
        shared.sync(place)
        assert shown(shared) == shown(local)
        assert not shared.sync(place)
        shared.rebuild(place)
        assert shown(shared) == shown(local)


def test_workspaces_that_share_a_server_do_not_meet(place: Workspace, server: str, tmp_path: Path) -> None:
    filled(place)
    other = Workspace.open(tmp_path / "other", create=True)
    with Index.open(place, server) as one, Index.open(other, server) as two:
        one.sync(place)
        two.sync(other)
        assert one.counts()["attempts"] == 3
        assert set(two.counts().values()) == {0}


def test_another_version_is_made_anew_on_the_server(place: Workspace, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(place)
    monkeypatch.setattr("core.store.engine.VERSION", 0)
    with Index.open(place, server) as index:
        index.sync(place)
    monkeypatch.undo()
    monkeypatch.setenv("SWEEP_INDEX", server)
    with Index.open(place) as index:
        assert "version 0" in index.notices[0]
        assert set(index.counts().values()) == {0}
        assert len(index.sync(place).trials) == 2


def test_two_processes_that_sync_at_once_agree_on_the_server(place: Workspace, server: str) -> None:
    check_two_at_once(place, server)
