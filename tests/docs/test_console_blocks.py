"""What the documentation shows of the command is what the command does.

The blocks of one page run in one folder, in order: ``$ ...`` lines are executed, and their output must be the one that is shown,
where ``...`` stands for anything. A block named ``<!-- file: NAME -->`` is written there first, and one that says
``<!-- not run: WHY -->`` is left out. Those that say ``<!-- training -->`` or ``<!-- launch -->`` are run by the tests with that mark.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from docs_pages import PAGES, Block, blocks

SWEEP = Path(sys.executable).parent


def pages_with(note: str) -> list[Path]:
    return [page for page in PAGES if any(block.note == note for block in blocks(page, "console"))]


def execute(line: str, folder: Path) -> tuple[str, int]:
    environment = {**os.environ, "COLUMNS": "200", "NO_COLOR": "1", "PATH": f"{SWEEP}{os.pathsep}{os.environ['PATH']}"}
    ended = subprocess.run(
        ["bash", "-c", line],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=240,
        check=False,
    )
    return ended.stdout, ended.returncode


def fits(shown: str, printed: str) -> bool:
    """Whether what was printed is what is shown; blanks at the ends of lines and around ``...`` do not count."""
    lines = [re.sub(r"\s+", " ", line).strip() for line in shown.strip().splitlines()]
    printed = "\n".join(re.sub(r"\s+", " ", line).strip() for line in printed.strip().splitlines())
    pattern = "\n".join(".*" if line == "..." else ".*".join(map(re.escape, line.split("..."))) for line in lines)
    return re.fullmatch(pattern.replace("\n.*\n", "\n(?:.*\n)?"), printed, flags=re.DOTALL) is not None


def run_page(page: Path, folder: Path, *notes: str) -> None:
    """Run the blocks of a page whose note is one of ``notes``, in order."""
    for block in blocks(page):
        if block.note.startswith("file: "):
            path = folder / block.note.removeprefix("file: ")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, encoding="utf-8")
        if block.language == "console" and block.note in notes:
            run_block(block, folder)


def run_block(block: Block, folder: Path) -> None:
    parts = re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]
    for part in parts:
        command, _, shown = part.partition("\n")
        printed, code = execute(command, folder)
        assert fits(shown, printed), f"{block.name}\n$ {command}\n{printed}\n--- the page shows\n{shown}"
        assert (code != 0) == ("error: " in shown), f"{block.name}: {command!r} left with {code}"


@pytest.mark.parametrize("page", pages_with(""), ids=lambda page: page.name)
def test_what_a_page_shows_of_the_command_is_what_it_prints(page: Path, tmp_path: Path) -> None:
    run_page(page, tmp_path, "")


@pytest.mark.training
@pytest.mark.parametrize("page", pages_with("training"), ids=lambda page: page.name)
def test_what_a_page_trains_in_one_process_trains(page: Path, tmp_path: Path) -> None:
    run_page(page, tmp_path, "", "training")


def test_every_command_and_option_that_the_documentation_names_exists() -> None:
    from docs.make_reference import commands, parameters
    from sweeps.cli.main import app

    known = {
        name: {word for part in parameters(function) for word in re.findall(r"--?[a-z][\w-]*", part.written)}
        for name, function in commands(app)
    }
    groups = {name.split()[0] for name in known if " " in name}
    wrong = []
    for page in PAGES:
        spans = re.findall(r"`(sweep [^`\n]+)`", page.read_text(encoding="utf-8"))
        spans += [line for block in blocks(page) for line in re.findall(r"^(?:\$ )?(sweep .+)$", block.text, flags=re.MULTILINE)]
        for span in spans:
            words = re.split("[#&|;]", span)[0].split()[1:]
            name = " ".join(words[:2]) if words and words[0] in groups and len(words) > 1 else words[0]
            if not re.fullmatch(r"[a-z]+( [a-z-]+)?", name):
                continue  # `sweep COMMAND`, `sweep --help`
            if name not in known and name not in groups:
                wrong.append(f"{page.name}: sweep {name}")
                continue
            options = {word.split("=")[0].strip(",;.()") for word in words if re.match(r"--?[a-z]", word)}
            wrong += [f"{page.name}: sweep {name} {option}" for option in options - known.get(name, set()) - {"--help", "-h"}]
    assert not wrong
