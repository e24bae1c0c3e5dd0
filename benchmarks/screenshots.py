"""Makes the pictures of deploy/review.md, on the drawn slide: the live view, the gallery, the report's first page.

    python -m benchmarks.screenshots [--out deploy/pictures]

Needs chromium, and pdftoppm (poppler-utils) for the report. Pictures are of 256 colours, or they would be too large for a page.
"""

import io
import json
import shutil
import subprocess
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import click
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from benchmarks.browsers import PATIENCE_S, SHOWN, Server, opened

SETTINGS = '[source]\npart = "phantom"\nfps = 6\n'
CELLS = 120
REPORT_DPI = 90


def live(page: Page, server: Server) -> bytes:
    """While the run goes on."""
    page.goto(server.url)
    page.wait_for_selector(SHOWN)
    deadline = time.monotonic() + PATIENCE_S
    while page.evaluate("Number(document.getElementById('progress').value)") < 0.6 and time.monotonic() < deadline:
        page.wait_for_timeout(50)
    return page.screenshot()


def gallery(page: Page, server: Server) -> bytes:
    """After it, with three doubtful cells reviewed, at a class that one of them was given."""
    page.wait_for_selector("#start:not([hidden])")
    page.click("#run-review")
    page.click("#bins [data-view='all']")
    page.wait_for_selector("#tile-5 img")
    run = f"/api/runs/{server.run_id}"
    doubtful = json.loads(server.ask("GET", f"{run}/cells?view=unsure&order=doubtful&offset=0&limit=3"))["cells"]
    for cell, said in zip(doubtful, ("neutrophil", "monocyte", ""), strict=False):
        action = {"action": "relabel", "label": said} if said else {"action": "reject", "label": ""}
        places = [[cell["frame"], cell["cell"]]]
        server.ask("POST", f"{run}/reviews", {"operator": "Ada Q.", "cells": places, **action})
    page.reload()
    page.click("#bins [data-view='label:monocyte']")
    page.wait_for_selector("#tile-5 img")
    page.focus("#grid")
    page.wait_for_load_state("networkidle")
    return page.screenshot()


def report(server: Server, folder: Path) -> bytes:
    """The first page, signed by who reviewed."""
    server.ask("POST", f"/api/runs/{server.run_id}/sign", {"operator": "Ada Q."})
    (folder / "report.pdf").write_bytes(server.ask("GET", f"/api/runs/{server.run_id}/report.pdf"))
    line = ["pdftoppm", "-png", "-singlefile", "-r", str(REPORT_DPI), "report.pdf", "report"]
    subprocess.run(line, cwd=folder, check=True)  # noqa: S603 our own words
    return (folder / "report.png").read_bytes()


def small(png: bytes) -> bytes:
    """The picture in 256 colours."""
    kept = io.BytesIO()
    Image.open(io.BytesIO(png)).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(kept, "PNG", optimize=True)
    return kept.getvalue()


@click.command()
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default=Path("deploy/pictures"), show_default=True)
def main(out: Path) -> None:
    """Make the pictures of deploy/review.md."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None or shutil.which("pdftoppm") is None:
        raise click.ClickException("needs chromium and pdftoppm: apt install chromium poppler-utils")
    out.mkdir(parents=True, exist_ok=True)
    with ExitStack() as there:
        folder = Path(there.enter_context(tempfile.TemporaryDirectory(prefix="screenshots-")))
        server = Server(folder, SETTINGS, sample="slide-17", operator="Ada Q.", stop={"cells": CELLS})
        there.callback(server.close)
        playwright = there.enter_context(sync_playwright())
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        there.callback(browser.close)
        page = there.enter_context(opened(browser))
        made = {"live": live(page, server), "gallery": gallery(page, server), "report": report(server, folder)}
    for name, png in made.items():
        (out / f"{name}.png").write_bytes(small(png))
        click.echo(f"{name}.png: {(out / f'{name}.png').stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
