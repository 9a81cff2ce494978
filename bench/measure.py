"""What is measured, in which order, and what was promised about it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from functools import partial

from django.conf import settings
from django.core.management import call_command
from django.db import connection

from . import imports, lenses
from .databases import make_ready
from .pages import FILTERS, FRAGMENT, Browser, one_run, our_own_work, own_queries
from .report import Figure, milliseconds, ratio, show
from .timing import interleaved

SMALL = 30_000
GROWTH_AT_MOST = 1.5
FASTER_AT_LEAST = 100
OWN_MS_AT_MOST = 10


def everything(*, large: int, rounds: int, slow_rounds: int, imported: int) -> None:
    call_command("collectstatic", interactive=False, verbosity=0)
    for alias, number in (("large", large), ("small", SMALL)):
        print(f"  {make_ready(alias, number)}", flush=True)
    big, small = Browser("large"), Browser("small")
    show(f"The list page, {large:,} runs against {SMALL:,}", growth(big, small, rounds))
    show("Our own work on the page: the page minus its base without content", own_work(big, rounds))
    show("Other pages, on the large database", other_pages(big, rounds))
    show("The lenses, on the large database", lenses.times(big, rounds))
    show("The lenses, many more days against few before the same ones", lenses.growth(big, small, rounds))
    show("Queries of the lenses, alone", lenses.slow_queries(big, slow_rounds))
    show("Queries of a list page", number_of_queries(small))
    show(f"The same runs in the admin (plain ones: medians of {slow_rounds})", admins(big, rounds, slow_rounds))
    if imported:
        show(
            f"import_zos, {imported:,} runs (under p95: the slowest of 3)",
            imports.figures(settings.BENCH_DIR, imported, 3),
        )


def growth(big: Browser, small: Browser, rounds: int) -> Iterator[Figure]:
    for name, query in FILTERS.items():
        samples = interleaved({"big": big.page(query=query), "small": small.page(query=query)}, rounds)
        yield milliseconds(f"{name}, large", samples["big"])
        yield milliseconds(f"{name}, small", samples["small"])
        # All of time is another number of runs on each: nothing was promised about that.
        bound = 0 if query.get("period") in ("all", "30d") else GROWTH_AT_MOST
        yield ratio(f"{name}, large : small", samples["big"], samples["small"], at_most=bound)


def own_work(browser: Browser, rounds: int) -> Iterator[Figure]:
    samples = our_own_work(browser, rounds)
    yield milliseconds("the page", samples["page"])
    yield milliseconds("its base with an empty content block", samples["empty"])
    yield milliseconds("our own work", samples["own"], at_most=OWN_MS_AT_MOST)
    yield milliseconds("  of it before rendering (filters, totals, cards)", samples["view"])
    yield milliseconds("  of it rendering (menus, rows, templates)", samples["rendering"])
    asked = own_queries(browser, browser.page(), rounds)
    for name, sample in asked.items():
        yield milliseconds(f"  its queries alone: {name}", sample)
    yield Figure("  its queries alone, together", f"{sum(sample.median for sample in asked.values()):.2f} ms")


def other_pages(browser: Browser, rounds: int) -> Iterator[Figure]:
    run = one_run(browser)
    pages = {
        "list, as a fragment": partial(browser.get, "/layer-runs/", None, FRAGMENT),
        "list, 100 rows": browser.page(query={"per_page": "100"}),
        "list, page 50": browser.page(query={"page": "50"}),
        "list, by cost": browser.page(query={"sort": "-cost"}),
        "list, search in errors": browser.page(query={"q": "overloaded"}),
        "one run": browser.page("detail", run.pk),
        "one run, as a drawer": partial(
            browser.get, f"/layer-runs/{run.pk}/", None, FRAGMENT | {"HX-Target": "run-detail"}
        ),
        "totals": browser.page("stats"),
        "totals, as a fragment": partial(
            browser.get, "/layer-runs/stats/", None, FRAGMENT | {"HX-Target": "run-stats"}
        ),
    }
    for name, sample in interleaved(pages, rounds).items():
        yield milliseconds(name, sample)


def number_of_queries(browser: Browser) -> Iterator[Figure]:
    run = one_run(browser)
    just_one = {"since": run.started_at.isoformat(), "until": (run.started_at + timedelta(microseconds=1)).isoformat()}
    one = browser.count_queries(per_page="100", **just_one)
    many = browser.count_queries(per_page="100", since=(run.started_at - timedelta(days=1)).isoformat())
    yield Figure("1 row", str(one))
    yield Figure("100 rows", str(many), target=f"= {one}", met=many == one)


def admins(browser: Browser, rounds: int, slow_rounds: int) -> Iterator[Figure]:
    page, plain = browser.page(), "/bench/{}/layer_runs/layerrun/"
    own = partial(browser.get, "/admin/layer_runs/layerrun/")
    quick = interleaved({"page": page, "own": own}, rounds)
    slow = interleaved(
        {
            "page": page,
            "hierarchy": partial(browser.get, plain.format("plain")),
            "no hierarchy": partial(browser.get, plain.format("plain-without-hierarchy")),
        },
        slow_rounds,
        warm_up=1,
    )
    yield milliseconds("our list page", quick["page"])
    yield milliseconds("our LayerRunAdmin changelist", quick["own"])
    yield milliseconds("plain ModelAdmin with date_hierarchy", slow["hierarchy"])
    yield milliseconds("plain ModelAdmin without date_hierarchy", slow["no hierarchy"])
    promised = FASTER_AT_LEAST if connection.vendor == "sqlite" else 0  # A hierarchy costs less on PostgreSQL.
    yield ratio("plain ModelAdmin : our list page", slow["hierarchy"], slow["page"], at_least=promised)
    yield ratio("... without date_hierarchy : our list page", slow["no hierarchy"], slow["page"])
    yield ratio("plain ModelAdmin : our LayerRunAdmin", slow["hierarchy"], quick["own"])
    yield ratio("... without date_hierarchy : our LayerRunAdmin", slow["no hierarchy"], quick["own"])
