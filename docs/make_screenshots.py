"""Makes the pictures of the dashboard in ``docs/pictures`` from a rehearsal: ``make screenshots`` (minutes; needs Debian's chromium).

python docs/make_screenshots.py                        # rehearses in a folder of its own, then takes the pictures
python docs/make_screenshots.py --workspace RUNS       # of the rehearsal that lies there
"""

from __future__ import annotations

import argparse
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

DEFINITION = "head_ablation"
SWEEP = f"/sweep/{DEFINITION}-rehearsal"
ROOT = Path(__file__).resolve().parents[1]
PICTURES = ROOT / "docs" / "pictures"
VIEWS = {
    "table": (SWEEP, "light", 1250, 900),
    "curves": (f"{SWEEP}?view=curves", "dark", 1000, 960),
    "mistakes": (f"{SWEEP}?view=trials&order=vl_rewardbench/overall", "light", 1000, 900),
}
"""Each picture: the address, the scheme, width and height of the window."""


def command(*words: str) -> list[str]:
    """The command of this checkout."""
    return [sys.executable, "-m", "sweeps.cli.main", *words]


def take(address: str) -> None:
    """Take all pictures of the dashboard at this address."""
    from playwright.sync_api import expect, sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for name, (view, scheme, width, height) in VIEWS.items():
            context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": height})  # type: ignore[arg-type]
            page = context.new_page()
            page.goto(address + view)
            if name == "mistakes":  # of the worst trial: it has some
                page.locator("#rows a").first.click()
                page.locator("#examples").scroll_into_view_if_needed()
                page.evaluate("document.getElementById('examples').scrollIntoView()")
            expect(page.locator("body")).not_to_contain_text("being worked out", timeout=60_000)
            page.wait_for_load_state("networkidle")
            page.screenshot(path=PICTURES / f"dashboard-{name}.png")
            print(f"wrote dashboard-{name}.png")
            context.close()
        browser.close()


def main() -> None:
    """Take the pictures."""
    parser = argparse.ArgumentParser(description="Take the dashboard's pictures from a rehearsal.")
    parser.add_argument("--workspace", type=Path, help="a workspace that holds the rehearsal; default: make one")
    given = parser.parse_args().workspace
    with tempfile.TemporaryDirectory(prefix="screenshots-") as folder, socket.socket() as probe:
        workspace = given or Path(folder) / "runs"
        if given is None:
            subprocess.run(command("launch", DEFINITION, "--rehearse", "--workspace", str(workspace)), check=True, cwd=ROOT)
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
        probe.close()
        ui = subprocess.Popen(
            command("ui", "--no-mlflow", "--port", port, "--workspace", str(workspace)), cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        assert ui.stdout is not None
        try:
            found = re.search(r"http://\S+(?=/)", ui.stdout.readline())
            assert found is not None
            take(found[0])
        finally:
            ui.send_signal(signal.SIGINT)
            ui.wait(30)


if __name__ == "__main__":
    main()
