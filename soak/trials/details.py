"""T15: runs with 10,000 and 100,000 errors."""

from __future__ import annotations

from collections.abc import Iterator

from ..figures import Figure, at_most, exactly, noted
from ..filling import HUGE
from ..site import Site
from ..stage import Stage
from ..trial import trial

PAGE = 50


@trial("T15", "runs with 10,000 and 100,000 errors")
def big_details(stage: Stage) -> Iterator[Figure]:
    with stage.database() as database, stage.site(database) as site:
        for key, number in HUGE.items():
            last = -(-number // PAGE)
            for name, path, most in (
                ("its page", f"/layer-runs/{key}/", 1000),
                ("its errors", f"/layer-runs/{key}/errors/", 1000),
                ("the last page of them", f"/layer-runs/{key}/errors/?page={last}", 500),
                ("the last of them", f"/layer-runs/{key}/errors/?position={number - 1}", 1000),
                ("in the admin", f"/admin/layer_runs/layerrun/{key}/change/", 1000),
            ):
                site.get(path)
                answer = site.get(path)
                yield exactly(f"{key}, {name}: status", answer.status, 200)
                yield at_most(f"{key}, {name}: size", len(answer.body) / 1024, 200, "KiB")
                yield at_most(f"{key}, {name}: time", answer.took, most, "ms")
            shown = f"{number:,}".encode() in site.get(f"/layer-runs/{key}/errors/").body
            yield exactly(f"{key}: the exact count is shown", int(shown), 1)
        # All lines of a month are read for these: no page takes longer than 2 s.
        for name, path in (("the Errors lens", "errors/?period=30d"), ("a search", "?period=30d&q=overloaded")):
            site.get(f"/layer-runs/{path}")
            yield at_most(f"{name} over the month with both", site.get(f"/layer-runs/{path}").took, 2000, "ms")
        yield from in_a_browser(site)


def in_a_browser(site: Site) -> Iterator[Figure]:
    """Open the largest run in Chromium, where there is one."""
    import shutil

    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        return
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        context = browser.new_context(base_url=f"http://127.0.0.1:{site.port}")
        context.add_cookies(
            [{"name": "sessionid", "value": site.known["session"], "url": f"http://127.0.0.1:{site.port}"}]
        )
        page = context.new_page()
        page.goto("/layer-runs/")
        for name, where in (("its page", "/layer-runs/soak-100k/"), ("its errors", "/layer-runs/soak-100k/errors/")):
            page.goto(where, wait_until="load")
            took = page.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd")
            nodes = page.evaluate("document.getElementsByTagName('*').length")
            yield at_most(f"Chromium, {name}: loaded", took, 1000, "ms")
            yield at_most(f"Chromium, {name}: elements", nodes, 3000)
        yield noted("Chromium, memory of a worker then", site.resident_mb, "MB")
        browser.close()
