"""T17: links that cost what they can, clicked by several at once."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator

from ..crews import Readers
from ..figures import Figure, at_most, exactly, noted, percentile
from ..site import Answer, Site
from ..stage import Stage
from ..trial import trial

LINKS = {
    "Q01": "/layer-runs/?period=all&per_page=1000000",
    "Q06": f"/layer-runs/?{'&'.join(f'sort={name}' for name in ('-cost', 'layer_name', 'status') * 166)}",
    "Q18": "/admin/layer_runs/layerrun/?layer_name__regex=^(a%2B)%2B$",
    "Q20": "/admin/layer_runs/layerrun/?all=1",
    "Q20, 200 words": f"/layer-runs/?period=all&q={'+'.join(f'word{n}' for n in range(200))}",
}
EXPORTS = ("csv", "json", "csv", "json")


@trial("T17", "4 exports of all at once beside 2 who click on costly links")
def costly_links(stage: Stage) -> Iterator[Figure]:
    with stage.database() as database, stage.site(database) as site:
        for path in LINKS.values():
            site.get(path)
        before = site.resident_mb
        exports: list[Answer] = []
        threads = [
            threading.Thread(target=lambda kind=kind: exports.append(_export(site, kind)), daemon=True)
            for kind in EXPORTS
        ]
        logins, largest, begun = [], before, time.monotonic()
        for thread in threads:
            thread.start()
        with Readers(site, 2, stage.seed, choose=_link) as readers:
            while any(thread.is_alive() for thread in threads) or len(logins) < 10:
                logins.append(site.login_page())
                largest = max(largest, site.resident_mb)
                time.sleep(0.1)
        took = time.monotonic() - begun
        counted = [answer.body.count(b"\n") for answer in exports]
        wanted = site.known["runs"]
    yield noted("the exports took", took, "s")
    # A CSV has a head, and no text of these runs holds a line break.
    yield exactly("exports that lack a run", sum(lines not in (wanted, wanted + 1) for lines in counted))
    yield exactly("answers 5xx or none", readers.failed() + readers.broken)
    for name, path in LINKS.items():
        clicked = [taken for _at, asked, _status, taken in readers.answers if asked == path]
        yield noted(f"{name}: median", percentile(clicked, 0.5), "ms")
    yield exactly("login pages that did not come", sum(answer.status != 200 for answer in logins))
    yield at_most("p99 of the login page meanwhile", percentile([each.took for each in logins], 0.99), 1000, "ms")
    yield noted("memory of a worker before", before, "MB")
    yield at_most("growth of a worker", largest - before, 50, "MB")


def _link(site: Site, dice: random.Random) -> str:
    return dice.choice(list(LINKS.values()))


def _export(site: Site, kind: str) -> Answer:
    """Return a whole download. Who is told to come again does so, as often as it takes."""
    while True:
        answer = site.get(f"/layer-runs/export/{kind}/?period=all", timeout=300)
        if answer.status != 429:
            return answer
        time.sleep(int(answer.headers["Retry-After"]))
