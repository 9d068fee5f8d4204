"""`sweep ui`: MLflow's own web interface over the workspace's store.

The server is a process group of its own, listens on this machine only, and ends with us.
Where ``$MLFLOW_TRACKING_URI`` names a server, its address is all there is to say.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from core.errors import EnvironmentFault, UsageError
from core.workspace.layout import Workspace
from dashboards.mlflow.making import make_store
from dashboards.mlflow.place import own_store, store_of

START_SECONDS = 120.0
"""How long the server may take to answer: its first start makes the tables."""
LEAVE_SECONDS = 10.0
HOST = "127.0.0.1"


@contextmanager
def running(workspace: Workspace, port: int = 5000) -> Iterator[str]:
    """MLflow's server while the ``with`` block runs; yields its address.

    It listens on this machine alone, whoever may read the dashboard: it knows no reader from another, and whoever reaches it can
    change and delete runs.

    Args:
        workspace: whose runs are shown.
        port: the port to listen on.

    Raises:
        UsageError: the port is no port.
        EnvironmentFault: the port is busy, another host owns the store, or the server does not start.
    """
    store = store_of(workspace)
    if store.uri.startswith(("http://", "https://")):
        yield store.uri.rstrip("/")
        return
    check_port(HOST, port, "--mlflow-port")
    own_store(store)
    make_store(store.uri)
    log = workspace.cache / "mlflow-ui.log"
    command = [
        sys.executable, "-m", "mlflow", "server", "--backend-store-uri", store.uri, "--host", HOST, "--port", str(port), "--workers", "1",
    ]  # fmt: skip
    if store.artifacts is not None:
        command += ["--default-artifact-root", store.artifacts]
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"} | os.environ
    with open(log, "wb") as output:
        server = subprocess.Popen(
            command, env=quiet, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        address = f"http://{HOST}:{port}"
        _wait_until_it_answers(server, address, log)
        yield address
    finally:
        _end(server)


def check_port(host: str, port: int, option: str = "--port") -> None:
    """See that a port can be listened on.

    Raises:
        UsageError: it is no port, or the host is no address of this machine.
        EnvironmentFault: it is in use; the next free one is named.
    """
    if not 0 < port < 65536:
        raise UsageError("not a port", found=port, allowed="1 to 65535")
    if _is_free(host, port):
        return
    free = next((other for other in range(port + 1, min(port + 100, 65536)) if _is_free(host, other)), None)
    raise EnvironmentFault("the port is in use", found=f"{host}:{port}", next=f"sweep ui {option} {free}" if free else None)


def _is_free(host: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except socket.gaierror as error:
            raise UsageError("not an address of this machine", found=host) from error
        except OSError:
            return False
    return True


def _wait_until_it_answers(server: subprocess.Popen[bytes], address: str, log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        if server.poll() is not None:
            raise _failed("the MLflow server did not start", log)
        try:
            with urlopen(f"{address}/health", timeout=2):
                return
        except (URLError, OSError):
            time.sleep(0.2)
    raise _failed(f"the MLflow server did not answer within {START_SECONDS:g} s", log)


def _failed(message: str, log: Path) -> EnvironmentFault:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return EnvironmentFault(message, found=lines[-1] if lines else "it printed nothing", place=log)


def _end(server: subprocess.Popen[bytes]) -> None:
    """End the server with all processes of its group."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(server.pid, number)
        except ProcessLookupError:
            break
        try:
            server.wait(LEAVE_SECONDS)
        except subprocess.TimeoutExpired:
            continue
        if number == signal.SIGTERM:
            time.sleep(0.2)  # its workers leave with it; what is left after that is killed
