"""YAML as the definition language reads it: text and places, no types, no code.

Every scalar stays the text that was written, because only the field that it reaches knows its type: ``1e-5`` is a number
for a learning rate, ``none`` an activation, ``no`` a word or a truth value. The one exception is a *plain* ``null``, ``~``
or nothing at all, which is ``None``; in quotes it is text. Beside the tree stands the place (file and line) of every key and
item, so that any later error can point at it.

Tags are refused (``!!python/object`` would run code), a duplicate key is an error, and what anchors and aliases expand to
is bounded.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from yaml.composer import Composer
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from yaml.parser import Parser
from yaml.reader import Reader
from yaml.resolver import BaseResolver
from yaml.scanner import Scanner

from core.errors import DefinitionError, Place

Path_ = tuple[str | int, ...]
"""Keys and list positions from the document's root."""

MAX_NODES = 1_000_000
"""Scalars, lists and mappings that a document may hold once its aliases are expanded."""

MAX_BYTES = 32 * 1024 * 1024
"""Size of the largest file that is read as a definition."""

NULLS = frozenset({"", "~", "null", "Null", "NULL"})
"""What a plain scalar may say to mean ``None``."""


@dataclass
class Document:
    """One YAML document: nested ``dict``, ``list``, ``str`` and ``None``, and where each part stands."""

    tree: Any
    places: dict[Path_, Place] = field(default_factory=dict)


class _Loader(Reader, Scanner, Parser, Composer, BaseResolver):
    """Composes nodes, constructs nothing."""

    def __init__(self, text: str) -> None:
        Reader.__init__(self, text)
        Scanner.__init__(self)
        Parser.__init__(self)
        Composer.__init__(self)
        BaseResolver.__init__(self)

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]  # PyYAML has no types here
        tag = getattr(event, "tag", None)
        if tag is not None:
            raise _Refused("a tag is not allowed: a definition is data", tag, event.start_mark.line + 1)
        node: Node | None = Composer.compose_node(self, parent, index)
        return node


class _Refused(Exception):
    def __init__(self, message: str, found: str, line: int) -> None:
        super().__init__(message)
        self.message, self.found, self.line = message, found, line


def read_file(path: Path) -> Document:
    """Read one YAML file.

    Raises:
        DefinitionError: the file is missing, not UTF-8, not YAML, holds a tag or a duplicate key, or is no mapping.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DefinitionError(
                "the definition is too large", found=f"{path.stat().st_size} bytes", allowed=f"{MAX_BYTES} bytes", place=path
            )
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise DefinitionError(f"the definition cannot be read: {error.strerror}", place=path) from error
    except UnicodeDecodeError as error:
        raise DefinitionError("the definition is not UTF-8", found=f"byte {error.start}", place=path) from error
    document = read_text(text, str(path))
    if not isinstance(document.tree, dict):
        raise DefinitionError("a definition is a mapping of keys to values", found=_kind(document.tree), place=Place(str(path), 1))
    return document


def read_text(text: str, file: str, *, lines: bool = True) -> Document:
    """Read YAML from text; ``file`` names its origin in errors, ``lines=False`` leaves the line out (a command line has none).

    Raises:
        DefinitionError: as for :func:`read_file`.
    """

    def place(line: int) -> Place:
        return Place(file, line if lines else None)

    loader = None
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        reader = _Converter(place)
        return Document(reader.convert(node, ()) if node is not None else None, reader.places)
    except _Refused as error:
        raise DefinitionError(error.message, found=error.found, place=place(error.line)) from None
    except yaml.reader.ReaderError as error:
        raise DefinitionError(f"not YAML: {error.reason}", place=place(text.count("\n", 0, error.position) + 1)) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = ", ".join(part for part in (error.context, error.problem) if part)
        raise DefinitionError(f"not YAML: {what}", place=place(mark.line + 1 if mark else 1)) from None
    except RecursionError:
        raise DefinitionError("nested too deeply", place=place(1)) from None
    finally:
        if loader is not None:
            loader.dispose()


class _Converter:
    """Turns nodes into text and places, once per document."""

    def __init__(self, place: Any) -> None:
        self.place = place
        self.places: dict[Path_, Place] = {}
        self.count = 0
        self.open: set[int] = set()

    def convert(self, node: Node, path: Path_) -> Any:
        self.count += 1
        if self.count > MAX_NODES:
            raise _Refused("the document is too large once its aliases are expanded", f"more than {MAX_NODES} values", _line(node))
        self.places.setdefault(path, self.place(_line(node)))
        if isinstance(node, ScalarNode):
            if any("\ud800" <= character <= "\udfff" for character in node.value):
                raise _Refused("half a character (a lone surrogate)", repr(node.value), _line(node))
            return None if node.style is None and node.value in NULLS else node.value
        if id(node) in self.open:
            raise _Refused("an alias contains itself", "a recursive anchor", _line(node))
        self.open.add(id(node))
        try:
            if isinstance(node, SequenceNode):
                return [self.convert(item, (*path, index)) for index, item in enumerate(node.value)]
            assert isinstance(node, MappingNode)
            return self._mapping(node, path)
        finally:
            self.open.discard(id(node))

    def _mapping(self, node: MappingNode, path: Path_) -> dict[str, Any]:
        out: dict[str, Any] = {}
        for key, (key_node, value) in self._merged(node).items():
            self.places[(*path, key)] = self.place(_line(key_node))
            out[key] = self.convert(value, (*path, key))
        return out

    def _merged(self, node: MappingNode) -> dict[str, tuple[Node, Node]]:
        """The entries of a mapping, those of its merge keys (``<<``) first and overridden by its own."""
        own: dict[str, tuple[Node, Node]] = {}
        inherited: dict[str, tuple[Node, Node]] = {}
        for key_node, value in node.value:
            if not isinstance(key_node, ScalarNode):
                raise _Refused("a key must be a word", "a list or a mapping as key", _line(key_node))
            if key_node.value == "<<" and key_node.style is None:
                self._inherit(value, inherited)
                continue
            if key_node.value in own:
                first = _line(own[key_node.value][0])
                raise _Refused(
                    f"the key {key_node.value!r} stands twice in one mapping", f"first on line {first}, again here", _line(key_node)
                )
            own[key_node.value] = (key_node, value)
        return {**inherited, **own}

    def _inherit(self, value: Node, inherited: dict[str, tuple[Node, Node]]) -> None:
        for source in value.value if isinstance(value, SequenceNode) else [value]:
            if not isinstance(source, MappingNode):
                raise _Refused("a merge key (<<) takes a mapping or a list of mappings", "something else", _line(value))
            if id(source) in self.open:
                raise _Refused("an alias contains itself", "a recursive anchor", _line(value))
            self.count += len(source.value)
            for key, entry in self._merged(source).items():
                inherited.setdefault(key, entry)


def _line(node: Node) -> int:
    return int(node.start_mark.line) + 1


def _kind(value: Any) -> str:
    if isinstance(value, str):
        return f"the text {value!r}"
    return "a list" if isinstance(value, list) else "nothing"


def leaves(tree: Any, path: Path_ = ()) -> Iterator[tuple[Path_, Any]]:
    """Every scalar of a tree with its path (text and ``None``, and what defaults have filled in)."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from leaves(value, (*path, key))
    elif isinstance(tree, list):
        for index, value in enumerate(tree):
            yield from leaves(value, (*path, index))
    else:
        yield path, tree


class _Dumper(yaml.SafeDumper):
    """Writes text so that :func:`read_text` reads the same text again: quotes only where they are needed."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012  # PyYAML's own class attribute

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_text(dumper: yaml.SafeDumper, value: str) -> ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="'" if value in NULLS or value == "<<" else None)


def _represent_null(dumper: yaml.SafeDumper, _: None) -> ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", "null")


_Dumper.add_representer(str, _represent_text)
_Dumper.add_representer(type(None), _represent_null)


def write_text(tree: Any) -> str:
    """YAML of a tree of mappings, lists, text and ``None``; mappings keep their order."""
    text: str = yaml.dump(tree, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
    return text
