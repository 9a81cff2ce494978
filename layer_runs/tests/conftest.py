"""What the tests share: clients who may look, a reader of what they are answered, and rows as odd as they come."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import lxml.html
import pytest
import time_machine
from django.core.handlers.base import BaseHandler
from django.db import connection
from django.http import HttpResponse
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from django.utils.functional import cached_property
from lxml.html import HtmlElement

from layer_runs.models import LayerRun
from layer_runs.tests.factories import LayerRunFactory, StaffFactory

# The element that each page swaps, and so the target that a request for its fragment names.
FRAGMENTS = {
    **dict.fromkeys(("list", "layers", "errors", "costs"), "run-results"),
    "stats": "run-stats",
    "detail": "run-detail",
    "run_errors": "run-errors",
    "compare": "run-compare",
}
STRICT_CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self';"
    " connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

# What every answer of the app carries, and what it must not: that is the site's to say.
HEADERS = {
    "Content-Security-Policy": STRICT_CSP.replace("base-uri 'none';", "base-uri 'none'; object-src 'none';"),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cache-Control": "private, no-store",
}
VARIES = {"Cookie", "HX-Request", "HX-Target", "HX-History-Restore-Request"}


def assert_dressed(answer: HttpResponse) -> None:
    """Fail unless the answer has the headers of the app, every one to the letter."""
    assert {name: answer.headers.get(name) for name in HEADERS} == HEADERS
    assert {name.strip() for name in answer["Vary"].split(",")} >= VARIES
    assert "Strict-Transport-Security" not in answer.headers


class Dom:
    """An answer as a browser reads it, by the hooks that the pages promise."""

    def __init__(self, response: HttpResponse) -> None:
        self.response = response
        self.source = response.content.decode()

    @cached_property
    def root(self) -> HtmlElement:
        return lxml.html.document_fromstring(self.source)

    def all(self, path: str) -> list[HtmlElement]:
        return self.root.findall(f".//{path}")

    def one(self, path: str) -> HtmlElement:
        (found,) = self.all(path)
        return found

    def text(self, path: str | HtmlElement = "body") -> str:
        element = self.one(path) if isinstance(path, str) else path
        return " ".join("".join(element.itertext()).split())

    def texts(self, path: str) -> list[str]:
        return [self.text(element) for element in self.all(path)]

    @property
    def stats(self) -> dict[str, str]:
        return {card.get("data-stat"): card.get("data-value") for card in self.all("*[@data-stat]")}

    @property
    def total(self) -> str:
        return self.one("*[@id='run-results']").get("data-total")

    @property
    def run_ids(self) -> list[str]:
        return [row.get("data-run-id") for row in self.all("tr[@data-run-id]")]

    @property
    def alerts(self) -> dict[str, str]:
        """The messages about parameters, by the name of the parameter."""
        return {alert.get("data-field"): self.text(alert) for alert in self.all("*[@role='alert'][@data-field]")}

    @property
    def chips(self) -> dict[str, str]:
        return {self.text(chip).removesuffix(" remove"): chip.get("href") for chip in self.all("a[@class='lr-chip']")}

    @property
    def links(self) -> list[str]:
        """Every address that a click or a form can lead to."""
        names = ("href", "hx-get", "action")
        return [element.get(name) for element in self.root.iter("*") for name in names if element.get(name)]

    def link(self, text: str) -> str:
        """The address of the one link whose words begin with this."""
        (found,) = {link.get("href") for link in self.all("a") if self.text(link).startswith(text)}
        return found

    def row(self, pk: str) -> str:
        return self.text(f"tr[@data-run-id='{pk}']")

    @property
    def live_parts(self) -> list[str]:
        """What stored text could have brought to life: scripts, handlers, pictures, requests of its own."""
        found = [f"script: {script.text}" for script in self.all("script") if script.text and script.text.strip()]
        for element in self.root.iter("*"):
            found += [f"{name}={value}" for name, value in element.items() if name.startswith(("on", "hx-on"))]
            found += [f"{name}={value}" for name, value in element.items() if value.startswith("javascript:")]
            found += [name for name in ("hx-post", "hx-delete", "hx-put", "hx-patch") if element.get(name)]
            strange = element.tag == "img" and not element.get("src", "").startswith("/static/")
            found += [element.tag] if strange or element.tag in ("iframe", "object", "embed") else []
        return found


@pytest.fixture
def staff(db):
    return StaffFactory()


@pytest.fixture
def staff_client(staff) -> Client:
    return client_of(staff)


@pytest.fixture
def blind_client(db) -> Client:
    """Of a staff user who may see runs, but not what they said: no error texts, topics or calls."""
    return client_of(StaffFactory(can=["view_layerrun"]))


@pytest.fixture
def keeper_client(db) -> Client:
    """Of a staff user who may do all there is to do with runs in the admin."""
    return client_of(StaffFactory(can=["view_layerrun", "view_run_details", "delete_layerrun"]))


def client_of(user: Any) -> Client:
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def dom() -> type[Dom]:
    return Dom


Get = Callable[..., Dom]


# What stands around a fragment asks no database for anything of its own: once is enough for it.
@pytest.fixture(params=["page", "fragment"] if connection.vendor == "sqlite" else ["fragment"])
def get(request, staff_client) -> Get:
    """Get a view as a page, and as the fragment that htmx asks for: the same test holds for both."""

    def get(query: str = "", view: str = "list", *args: str, client: Client = staff_client, status: int = 200) -> Dom:
        headers = {"HX-Request": "true", "HX-Target": FRAGMENTS[view]} if request.param == "fragment" else {}
        response = client.get(reverse(f"layer_runs:{view}", args=args) + query, headers=headers)
        assert response.status_code == status
        return Dom(response)

    get.is_page = request.param == "page"
    return get


@pytest.fixture
def query_of() -> Callable[[str], dict[str, list[str]]]:
    return lambda url: parse_qs(urlsplit(url).query)


def insert_raw(pk: str, errors: str, **columns: Any) -> None:
    """Write a run as a stranger would: by SQL, with any JSON for its errors."""
    moment = connection.ops.adapt_datetimefield_value(timezone.now() - timedelta(hours=1))
    values = {"id": pk, "layer_name": "raw", "started_at": moment, "errors": errors} | columns
    names, places = ", ".join(values), ", ".join(["%s"] * len(values))
    with connection.cursor() as cursor:
        cursor.execute(f"INSERT INTO {LayerRun._meta.db_table} ({names}) VALUES ({places})", list(values.values()))


# What runs have been seen to hold in place of a list of {topic, error, node}.
ODD_ERRORS = {
    "object": '{"error": "an object and no list"}',
    "text": '"a bare text"',
    "texts": '["a text in a list"]',
    "null": "null",
    "nulls": "[null]",
    "empties": "[{}]",
    "number": "7",
    "truth": "true",
    "lists": '[["a list", ["in a list"]]]',
    "types": '[{"topic": {"a": 1}, "error": null, "node": 3}, {"topic": null, "error": "", "node": null}]',
    "huge": json.dumps([{"topic": "t", "error": "x" * 300_000, "node": "n"}]),
}
SCRIPT = "<script>window.x=1</script>"
ATTRIBUTE = "x\" ' onmouseover='window.x=1' hx-post='/delete/' hx-trigger=\"load\">"


@pytest.fixture
def odd_runs(db) -> dict[str, LayerRun]:
    """One run for each way to be odd, by its name, which is also its id."""
    for name, errors in ODD_ERRORS.items():
        insert_raw(name, errors)
    if connection.vendor == "sqlite":
        insert_raw("surrogate", '[{"topic": "t", "error": "\\udcff", "node": "n"}]')
    hostile = [
        {"topic": f"{SCRIPT}{n}", "error": f"{ATTRIBUTE}{SCRIPT}<img src=x onerror=x>", "node": ATTRIBUTE} for n in "ab"
    ]
    LayerRunFactory(id="unknown", status="exploded")
    LayerRunFactory(id="no-status", status="")
    LayerRunFactory(id="skewed", took=timedelta(seconds=-5))
    LayerRunFactory(id="future", ago=timedelta(minutes=-10))
    LayerRunFactory(id="silent", under_way=True, ago=timedelta(hours=5))
    LayerRunFactory(id="crashed", status="crashed", completed_at=None)
    LayerRun.objects.create(id="nothing", layer_name="", started_at=timezone.now() - timedelta(hours=1))
    LayerRunFactory(id="wide", layer_name="W" * 200, model_name="W" * 200)
    LayerRunFactory(
        id="right-to-left", layer_name="\u202eمرحبا\u200b🦀", errors=[{"topic": "\u202e", "error": "\u202eلا"}]
    )
    LayerRunFactory(id="script", layer_name=SCRIPT, model_name=SCRIPT, status="<b onclick=x>", errors=hostile)
    LayerRunFactory(id="attribute", layer_name=ATTRIBUTE, layer_hash=ATTRIBUTE[:64], source="<i onclick=x>")
    LayerRunFactory(
        id="huge-figures",
        tokens_input=10**12,
        tokens_output=10**12,
        tokens_total=10**12,
        estimated_cost_usd="999999.999999999",
        insights_created=2**31 - 1,
        targets_matched=2**31 - 1,
        targets_processed=2**31 - 1,
        targets_skipped=2**31 - 1,
        unpriced_tokens=10**12,
        notes={"altered": ["no", "object"], "original_id": None, "nulled": {"a": SCRIPT}},
    )
    return {run.pk: run for run in LayerRun.objects.all()}


@pytest.fixture
def midnight_in_new_york(settings) -> Iterator[datetime]:
    """Let the site live in New York, half an hour before its midnight: 14 June there, 15 June in UTC."""
    settings.TIME_ZONE = "America/New_York"
    now = datetime.fromisoformat("2026-06-15T03:30:00+00:00")
    with time_machine.travel(now, tick=False):
        yield now


@pytest.fixture
def strict_csp(monkeypatch) -> None:
    """Let every answer forbid what a strict site forbids: inline script and style, eval, other origins."""
    answer = BaseHandler.get_response

    def get_response(handler: BaseHandler, request: Any) -> HttpResponse:
        response = answer(handler, request)
        response.headers["Content-Security-Policy"] = STRICT_CSP
        return response

    monkeypatch.setattr(BaseHandler, "get_response", get_response)
