"""A small server in the shape of the hub: repository info, file tree and files at a commit, for the real ``huggingface_hub``."""

from __future__ import annotations

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlparse

COMMIT = "c0ffee" + "0" * 34


class Hub:
    """Serves ``{(kind, repository): {path: content}}`` at one commit, which is ``main``; ``requests`` holds what was asked."""

    def __init__(self, repositories: dict[tuple[str, str], dict[str, bytes]]) -> None:
        self.repositories = repositories
        self.requests: list[str] = []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_HEAD(self) -> None:
                self.answer(False)

            def do_GET(self) -> None:
                self.answer(True)

            def answer(self, whole: bool) -> None:
                hub.requests.append(f"{self.command} {self.path}")
                status, headers, body = hub.answer(unquote(urlparse(self.path).path))
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if whole:
                    self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        for (kind, name), files in self.repositories.items():
            api, web = f"/api/{kind}s/{name}", f"/{name}" if kind == "model" else f"/{kind}s/{name}"
            if path.startswith(api + "/revision/") or path == api:
                if path != api and path.split("/revision/")[1] not in ("main", COMMIT):
                    return 404, {"X-Error-Code": "RevisionNotFound"}, b"{}"
                value = {
                    "id": name,
                    "sha": COMMIT,
                    "private": False,
                    "tags": [],
                    "siblings": [{"rfilename": n, "size": len(d)} for n, d in files.items()],
                }
                return self.json(value)
            if path.startswith(api + "/tree/"):
                return self.json(
                    [
                        {"type": "file", "path": file, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
                        for file, data in files.items()
                    ]
                )
            if path.startswith(f"{web}/resolve/{COMMIT}/"):
                data = files.get(path.removeprefix(f"{web}/resolve/{COMMIT}/"))
                if data is not None:
                    return 200, {"ETag": f'"{hashlib.sha1(data).hexdigest()}"', "X-Repo-Commit": COMMIT}, data
                return 404, {"X-Error-Code": "EntryNotFound"}, b""
        return 404, {"X-Error-Code": "RepoNotFound"}, b"{}"

    def json(self, value: object) -> tuple[int, dict[str, str], bytes]:
        return 200, {"Content-Type": "application/json"}, json.dumps(value).encode()
