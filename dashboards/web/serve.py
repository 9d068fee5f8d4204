"""`sweep ui`: the dashboard on one port, MLflow's own interface beside it, until Ctrl-C."""

from __future__ import annotations

import gc
import os
import secrets
import signal
import socket
from collections.abc import Callable
from contextlib import ExitStack
from types import FrameType
from urllib.parse import quote

import uvicorn

from core.errors import EnvironmentFault
from core.store import Index
from core.workspace.layout import Workspace
from dashboards.mlflow.ui import check_port, running
from dashboards.web.access import LOOPBACK, Access
from dashboards.web.answers import Answers
from dashboards.web.app import create_app
from dashboards.web.data import Data

TOKEN = "SWEEP_UI_TOKEN"
SHORTEST = 16
"""Characters of a token that somebody chose."""
GARBAGE = (100_000, 20, 20)
"""How seldom garbage is looked for: a table of thousands of cells is a million objects without a cycle, and Python's own pace would walk
through them so often that the table took twice as long."""


def serve(
    workspace: Workspace,
    index: Index,
    answers: Answers,
    *,
    host: str = "127.0.0.1",
    port: int = 5001,
    mlflow_port: int = 5000,
    mlflow: bool = True,
    say: Callable[[str], None] = print,
) -> None:
    """Serve until Ctrl-C or SIGTERM.

    Args:
        workspace: whose sweeps are shown.
        index: of the workspace, open; it is closed at the end.
        answers: of the floor above.
        host: the address to listen on; anything but loopback asks every reader for a token.
        port: of the dashboard.
        mlflow_port: of MLflow's interface, which listens on this machine alone.
        mlflow: whether MLflow's interface is started too.
        say: prints one line.

    Raises:
        UsageError: a port is no port, or the host no address of this machine.
        EnvironmentFault: a port is busy, the token too short, or MLflow's server does not start.
    """
    check_port(host, port)
    access = access_for(host)
    gc.set_threshold(*GARBAGE)
    before = signal.signal(signal.SIGTERM, _leave)
    try:
        with ExitStack() as stack:
            shown = stack.enter_context(running(workspace, mlflow_port)) if mlflow else None
            data = Data(workspace, index, answers, mlflow=shown)
            settings = uvicorn.Config(
                create_app(data, access), host=host, port=port, log_level="warning", access_log=False, server_header=False,
                timeout_graceful_shutdown=3,
            )  # fmt: skip
            links = [f"dashboard: {link(host, port, access)}  (Ctrl-C ends it)"]
            if shown is not None:
                near = host not in LOOPBACK and shown.startswith("http://127.")
                links.append(f"MLflow:    {shown}" + ("  (from this machine only)" if near else ""))
            _Server(settings, lambda: say("\n".join(links))).run()
    except KeyboardInterrupt:
        pass
    finally:
        signal.signal(signal.SIGTERM, before)


class _Server(uvicorn.Server):
    """Says its links once they open, and not before."""

    def __init__(self, settings: uvicorn.Config, say: Callable[[], None]) -> None:
        super().__init__(settings)
        self._say = say

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then say so."""
        await super().startup(sockets)
        if self.started:
            self._say()


def access_for(host: str) -> Access:
    """Who is let in by a server on this address.

    Raises:
        EnvironmentFault: ``$SWEEP_UI_TOKEN`` is set and too short to be a secret.
    """
    token = os.environ.get(TOKEN) or None
    if token is not None and len(token) < SHORTEST:
        raise EnvironmentFault(f"{TOKEN} is too short to be a secret", found=f"{len(token)} characters", allowed=f"{SHORTEST} or more")
    if host in LOOPBACK:
        return Access(token)
    return Access(token or secrets.token_urlsafe(32), hosts=())


def link(host: str, port: int, access: Access) -> str:
    """The address to open, with the token where one is needed."""
    name = socket.gethostname() if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host
    return f"http://{name}:{port}/" + (f"?token={quote(access.token)}" if access.token is not None else "")


def _leave(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
