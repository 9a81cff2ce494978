"""The lenses: what was promised of them, how they grow, and which of their queries take long."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from layer_runs.models import ErrorLine, LayerRun

from . import runs
from .databases import use
from .pages import FRAGMENT, Browser, own_queries
from .report import Figure, milliseconds, ratio
from .timing import interleaved

GROWTH_AT_MOST = 1.5
# What a page asks in less than this is not worth a line.
WORTH_A_LINE_MS = 3
LAYER = runs.LAYERS[3]


def promised(browser: Browser) -> dict[str, tuple[Callable[[], Any], float | None]]:
    """Return the pages by name, each with the milliseconds it may take, where something was promised."""
    use(browser.alias)
    groups = ErrorLine.objects.order_by("-started_at").values_list("fingerprint", flat=True)
    newest, before = LayerRun.objects.filter(layer_name=LAYER, error_count__gt=0).newest_first()[:2]

    def page(name: str, period: str = "7d", **query: str) -> Callable[[], Any]:
        return browser.page(name, query={"period": period, **query})

    menu = FRAGMENT | {"HX-Target": "run-choices-layer_name"}
    return {
        "Runs, 7 d": (page("list"), None),
        "Runs, 30 d": (page("list", "30d"), 150),
        "Runs, 90 d": (page("list", "90d"), None),
        "Layers, 7 d": (page("layers"), None),
        "Layers, 30 d": (page("layers", "30d"), 150),
        "Layers, 90 d": (page("layers", "90d"), None),
        "one layer, 30 d": (page("layers", "30d", layer_name=LAYER), None),
        "Errors, 7 d": (page("errors"), 150),
        "Errors, 30 d": (page("errors", "30d"), None),
        "one error, 7 d": (page("errors", error=groups[0]), None),
        "Costs, 7 d": (page("costs"), 150),
        "Costs by layer, 7 d": (page("costs", by="layer"), 150),
        "Costs, 30 d": (page("costs", "30d"), 500),
        "Costs of one layer, 30 d": (page("costs", "30d", layer_name=LAYER), None),
        "Compare": (browser.page("compare", query={"a": before.pk, "b": newest.pk}), None),
        "a look for new runs": (page("live", after="0"), None),
        "the choices of a menu": (partial(browser.get, "/layer-runs/", None, menu), None),
        "layers/csv, 7 d": (page("layers_csv"), None),
        "errors/csv, 7 d": (page("errors_csv"), None),
        "costs/csv, 7 d": (page("costs_csv"), None),
    }


def times(browser: Browser, rounds: int) -> Iterator[Figure]:
    pages = promised(browser)
    samples = interleaved({name: page for name, (page, _at_most) in pages.items()}, rounds)
    for name, sample in samples.items():
        yield milliseconds(name, sample, at_most=pages[name][1])


def growth(big: Browser, small: Browser, rounds: int) -> Iterator[Figure]:
    """Yield how each page of 7 days takes longer where there are many more days before those."""
    pages, same = promised(big), promised(small)
    names = [name for name in pages if "30 d" not in name and "90 d" not in name]  # The small one has no 30 days.
    actions = {(name, size): of[name][0] for name in names for size, of in (("big", pages), ("small", same))}
    samples = interleaved(actions, rounds)
    for name in names:
        yield ratio(f"{name}, large : small", samples[name, "big"], samples[name, "small"], at_most=GROWTH_AT_MOST)


def slow_queries(browser: Browser, rounds: int) -> Iterator[Figure]:
    """Yield how many queries a lens asks, how long they take by themselves, and those of them that take long."""
    for name, (page, _at_most) in promised(browser).items():
        samples = own_queries(browser, page, rounds)
        together = sum(sample.median for sample in samples.values())
        yield Figure(f"{name}: {len(samples)} queries", f"{together:.2f} ms")
        for said, sample in samples.items():
            if sample.median >= WORTH_A_LINE_MS:
                yield milliseconds(f"  {said}", sample)
