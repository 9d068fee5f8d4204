"""Fingerprints: what stands beside a trial's id, so that the same configuration with new code shows as *stale*.

The code fingerprint covers the syntax trees, without docstrings, of the rooms that compute a trial (:data:`ROOMS`), the
versions of the libraries that compute, and the user's own files under ``code:``. A comment or a docstring changes nothing.
"""

from __future__ import annotations

import ast
import hashlib
import platform
import sys
import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from core.errors import EnvironmentFault
from core.workspace.files import digest, user_cache, write_atomic

ROOMS = ("data", "models", "training")
SCORING_ROOMS = ("data", "models", "training", "evaluation")
LIBRARIES = ("torch", "transformers", "tokenizers", "numpy", "pillow", "safetensors", "deepspeed", "peft")

_PARSING = threading.Lock()
"""CPython 3.11 counts the depth of syntax trees for all threads together (gh-106905): two that parse at once may get a SystemError."""


class _WithoutDocstrings(ast.NodeTransformer):
    def _strip(self, node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> ast.AST:
        self.generic_visit(node)
        first = node.body[0] if node.body else None
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
            node.body = node.body[1:] or [ast.Pass()]
        return node

    visit_Module = visit_ClassDef = visit_FunctionDef = visit_AsyncFunctionDef = _strip  # noqa: N815 (ast's own names)


def tree_digest(file: Path) -> str:
    """sha256 of a Python file's syntax tree without docstrings, positions and comments."""
    content = file.read_bytes()
    with _PARSING:
        parsed = ast.parse(content, filename=str(file))
    tree = _WithoutDocstrings().visit(parsed)
    return hashlib.sha256(ast.dump(tree, include_attributes=False).encode()).hexdigest()


@lru_cache(maxsize=8)
def _rooms_digest(rooms: tuple[str, ...]) -> str:
    """Of the syntax trees; remembered in the user's cache by the bytes that they are the trees of, because parsing takes its time."""
    core = Path(__file__).resolve().parent.parent
    files = [(f"{room}/{file.name}", file) for room in rooms for file in sorted((core / room).rglob("*.py"))]
    python = f"{sys.implementation.name} {platform.python_version()}"
    known = user_cache() / "code" / _join([python, *(f"{name}:{digest(file)}" for name, file in files)])[:32]
    with suppress(OSError, UnicodeDecodeError):
        if len(text := known.read_text(encoding="ascii")) == 64:
            return text
    found = _join(f"{name}:{tree_digest(file)}" for name, file in files)
    with suppress(OSError, EnvironmentFault):
        known.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(known, found)
    return found


def _join(parts: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def libraries() -> dict[str, str]:
    """Versions of the libraries that compute, "" where one is not installed."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = ""
    return found


def code_fingerprint(code: Sequence[Path] = (), *, rooms: Sequence[str] = ROOMS) -> str:
    """16 hex digits over the rooms' syntax trees, the libraries' versions and the user's files."""
    own = [f"{file.name}:{tree_digest(file)}" for file in sorted(code, key=lambda f: f.name)]
    return _join([_rooms_digest(tuple(rooms)), *(f"{k}={v}" for k, v in libraries().items()), *own])[:16]


def environment() -> dict[str, str]:
    """What else the numbers were computed with: Python, platform, processor."""
    return {"python": platform.python_version(), "platform": sys.platform, "machine": platform.machine(), **libraries()}


def environment_fingerprint() -> str:
    """16 hex digits over :func:`environment`."""
    return _join(f"{k}={v}" for k, v in sorted(environment().items()))[:16]
