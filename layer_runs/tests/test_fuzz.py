"""Every address, with every parameter, header and method, given what nobody means: an answer, and never a 5xx.

What is asked for follows from a seed, so that a failure can be asked again: FUZZ_SEED=1 makes another
walk, and FUZZ_ALL=1 a long one.
"""

from __future__ import annotations

import logging
import os
import random
import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import timedelta
from itertools import count, cycle
from typing import Any
from urllib.parse import quote

import pytest
from django.contrib import admin
from django.contrib.admin.utils import quote as admin_quote
from django.http import HttpResponse, QueryDict
from django.test import Client
from django.urls import URLPattern, reverse

from layer_runs import urls
from layer_runs.filters import LayerRunFilterSet
from layer_runs.menus import menu_names
from layer_runs.models import ErrorLine, LayerRun
from layer_runs.tests.conftest import FRAGMENTS, client_of
from layer_runs.tests.factories import LayerRunFactory, LlmCallFactory, StaffFactory

SEED = int(os.environ.get("FUZZ_SEED", "20261122"))
# No answer is larger, and none takes longer to make; in bytes, and in seconds of this process alone.
LARGEST = 1_000_000
LONGEST = 2.0
# Whether to ask every question, where otherwise some are drawn of those that are too many for every day.
ALL = bool(os.environ.get("FUZZ_ALL"))

# Percent-encoded, as a browser or an attacker would send them.
NO_TEXT = ["%00", "a%00b", "%ff%fe", "%ed%a0%80", "%F0%9F", "%c0%af"]
TEXTS = [
    *("9" * 5_000, "-5", "0", "1", "1e400", "1e999999999", "NaN", "Infinity", "-Infinity", "9223372036854775808"),
    *("0x10", "1_000", "٣", "½", "+1", "$5", "90s", "9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00+14:00"),
    *("2026-13-45", "2026-03-08T02:30", "2026-11-01T01:30", "2026-11-01T01:30-04:00", "10000-01-01", "2026-W45"),
    *("2026-11-01T24:00", "2026-11-01", "2199-12-31", "24h", "all", "yes", "'", '"', "%", "_", "\\", "' OR 1=1 --"),
    *("<script>alert(1)</script>", "\" onmouseover='x'", "{{7*7}}", "{% debug %}", "../../etc/passwd", "x" * 3_000),
    *(
        "x" * 200,
        "🦀" * 50,
        "\u202eabc",
        "[]",
        "a\r\nSet-Cookie: x=1",
        "a=b&c=d#e;f",
        "null",
        "%00",
        "failed",
        "exploded",
    ),
    *("javascript:alert(1)", "//evil.example/", " ", "\u2028", "\ufeff", "(a+)+$", "-started_at", "cost", "--cost"),
    *("one", "run", "user:1", "layer_name__regex", "ſ"),
]
HOSTILE = [*NO_TEXT, *map(quote, TEXTS)]
# What the pages read besides the selection.
OTHERS = (
    *("sort", "page", "per_page", "after", "before", "live", "a", "b", "position", "by", "targets"),
    *("o", "p", "all", "_changelist_filters", "_to_field", "evil", "_connector"),
)
PARAMETERS = [*LayerRunFilterSet.base_filters, *OTHERS]
LENSES = ("list", "layers", "errors", "costs", "stats")
SLOW = ("list", "layers", "errors", "costs", "compare", "detail", "layers_csv", "costs_csv")
DOWNLOADS = ("export", "layers_csv", "errors_csv", "costs_csv")


class Address:
    """A page to ask: where it is, what it is asked for besides, and what its fragments are called."""

    def __init__(self, name: str, path: str, query: str = "") -> None:
        self.name, self.path, self.query = name, path, query
        named = {"live": "run-news"} | FRAGMENTS
        self.fragments = [named[name]] if name in named else []

    def url(self, query: str) -> str:
        return f"{self.path}?{self.query}{'&' if self.query and query else ''}{query}"

    def headers(self, fragment: str) -> dict[str, str]:
        return {"HX-Request": "true", "HX-Target": fragment} if fragment else {}


class Walk:
    """Ask, and judge each answer. `problems` is what was wrong with them."""

    asked = Counter[int]()
    slowest = largest = 0.0
    numbers = count(1)

    def __init__(self, client: Client) -> None:
        self.client = client
        client.raise_request_exception = False
        self.problems: list[str] = []

    def __call__(self, method: str, url: str, address: Address | None = None, **request: Any) -> HttpResponse:
        begun = time.process_time()
        failure: Any = None
        content = b""
        response = self.client.generic(method, url, **request)
        try:
            content = response.getvalue()
        except Exception as error:  # noqa: BLE001 - what breaks while it is streamed, breaks as well
            failure = error
        taken = time.process_time() - begun
        Walk.asked[response.status_code] += 1
        Walk.slowest, Walk.largest = max(Walk.slowest, taken), max(Walk.largest, len(content))

        def wrong(what: object) -> None:
            sent = {name: str(value)[:300] for name, value in request.items()}
            self.problems.append(f"{what}: {method} {url[:600]} ({len(url)} characters) {sent}")

        if response.status_code >= 500 or failure:
            wrong(f"{response.status_code}, {failure or (getattr(response, 'exc_info', None) or [None, None])[1]!r}")
        if 400 <= response.status_code < 500 and method != "HEAD" and not says_why(response, content):
            wrong(f"{response.status_code} without a reason")
        if len(content) > LARGEST:
            wrong(f"{len(content)} bytes")
        if taken > LONGEST:
            wrong(f"{taken:.1f} s")
        if any(ord(character) < 32 for header in response.headers.items() for character in "".join(header)):
            wrong("a header with a line of its own")
        if address and response.status_code in (200, 400) and method == "GET":
            for problem in misread(address, url, response, content.decode()):
                wrong(problem)
        return response

    def judged(self) -> None:
        assert not self.problems, f"FUZZ_SEED={SEED}\n" + "\n".join(self.problems[:20])


def says_why(response: HttpResponse, content: bytes) -> bool:
    """Whether an answer that refuses has words for it, or for 405 names what would be answered."""
    if response.status_code == 405:
        return "GET" in response.headers["Allow"] or "POST" in response.headers["Allow"]
    text = re.sub(r"<(style|script|title).*?</\1>|<[^>]*>", " ", content.decode(), flags=re.S)
    return len(re.findall(r"\w\w+", text)) >= 2


def misread(address: Address, url: str, response: HttpResponse, content: str) -> Iterator[str]:
    """Yield what is wrong with an answer to this selection: a mistake unsaid, or one that took runs away."""
    if address.name not in (*LENSES, *DOWNLOADS):
        return
    if response.status_code == 400 and content.startswith("This request holds a NUL"):
        if not any(value in url for value in NO_TEXT):
            yield "refused as no text"
        return
    query = QueryDict(url.partition("?")[2])
    mistakes = {name for name, _label, _message in LayerRunFilterSet(query, LayerRun.objects.all()).complaints()}
    if address.name in DOWNLOADS:
        if (response.status_code == 400) != bool(mistakes):
            yield f"a download with mistakes in {mistakes or 'nothing'} answered {response.status_code}"
        return
    alerts = set(re.findall(r'role="alert" data-field="(\w+)"', content)) - {"page"}
    if alerts != mistakes:
        yield f"mistakes in {mistakes or 'nothing'}, messages for {alerts or 'nothing'}"
    rest = query.copy()
    for name in mistakes:
        rest.pop(name)
    there = LayerRunFilterSet(rest, LayerRun.objects.all()).qs.count()
    shown = re.search(r'data-total="(\d+)"|data-stat="total" data-value="(\d+)"', content)
    if shown is None or there != int(shown[1] or shown[2]):
        yield f"{there} runs without the mistakes, {shown and shown[0]} shown"


# -- the site


@pytest.fixture(autouse=True)
def runs(db, settings) -> LayerRun:
    """A few runs of some layers, so that an answer is made quickly and no part of a page is empty."""
    settings.TIME_ZONE = "America/New_York"
    boom = {"topic": "user:1", "error": "Error code: 529 - Overloaded", "node": "reflect"}
    late = {"topic": "user:2", "error": "Request timed out.", "node": "gather"}
    run = LayerRunFactory(id="run", layer_name="one", status="failed", errors=[boom, late], targets_skipped=2)
    LayerRunFactory(id="two", layer_name="one", layer_hash="h2", ago=timedelta(days=2))
    LayerRunFactory(id="src:3", layer_name="two", source="src", errors=[boom], ago=timedelta(days=9))
    LayerRunFactory(id="open", layer_name="two", under_way=True, estimated_cost_usd=None, unpriced_tokens=5)
    LlmCallFactory(run=run)
    return run


@pytest.fixture
def walk() -> Iterator[Walk]:
    can = ("view_layerrun", "view_run_details", "delete_layerrun", "prune_runs")
    # Thousands of refusals, each with its traceback, would be most of the work.
    logging.disable()
    yield Walk(client_of(StaffFactory(can=can)))
    logging.disable(logging.NOTSET)


@pytest.fixture(scope="module", autouse=True)
def said(request) -> Iterator[None]:
    """Say at the end how many requests were made, and how they were answered."""
    yield
    answers = ", ".join(f"{number} x {status}" for status, number in sorted(Walk.asked.items()))
    broken = sum(number for status, number in Walk.asked.items() if status >= 500)
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print(  # noqa: T201
            f"\nfuzz: {Walk.asked.total()} requests, {broken} answered 5xx ({answers});"
            f" the slowest took {Walk.slowest:.2f} s, the largest has {Walk.largest:,.0f} bytes; seed {SEED}"
        )


VALUES_IN_PATHS = {"kind": ["csv", "json"], "pk": ["run"]}


def addresses() -> list[Address]:
    """Return every address of the app, by walking its urlconf, and those of runs in the admin."""
    found = []
    for pattern in urls.urlpatterns:
        # A new kind of part in a path fails here: say what it can be.
        names = list(pattern.pattern.converters)
        for value in VALUES_IN_PATHS[names[0]] if names else [None]:
            path = reverse(f"layer_runs:{pattern.name}", kwargs={names[0]: value} if names else {})
            found.append(Address(pattern.name, path))
    fingerprint = ErrorLine.objects.filter(node="reflect").first().fingerprint
    found += [
        Address("layers", reverse("layer_runs:layers"), "layer_name=one"),
        Address("errors", reverse("layer_runs:errors"), f"error={fingerprint}"),
        Address("list", reverse("layer_runs:list"), "sort=cost&period=all"),
        Address("compare", reverse("layer_runs:compare"), "a=two&b=run"),
        Address("costs", reverse("layer_runs:costs"), "by=layer&period=30d"),
    ]
    for pattern in admin.site._registry[LayerRun].get_urls():
        if isinstance(pattern, URLPattern) and pattern.name:
            args = [admin_quote("src:3")] if pattern.pattern.converters else []
            found.append(Address("admin", reverse(f"admin:{pattern.name}", args=args)))
    return found


def drawn(questions: Sequence[Any], number: int) -> list[Any]:
    """Return so many of the questions, spread over all of them, or all where they are asked for."""
    if ALL or len(questions) <= number:
        return list(questions)
    places = random.Random(SEED + number).sample(range(len(questions)), number)  # noqa: S311
    return [questions[place] for place in sorted(places)]


def test_t01_the_walk_meets_every_page_of_the_app_and_of_its_admin():
    names = Counter(address.name for address in addresses())
    assert set(names) == {pattern.name for pattern in urls.urlpatterns} | {"admin"}
    assert names["admin"] >= 5
    assert len(HOSTILE) >= 60


def test_t01_every_address_is_asked_for_every_value_in_every_parameter(walk):
    """In as many steps as there are values, each parameter takes every one of them; a whole lens is asked for some."""
    values = [quote(text) for text in TEXTS if len(text) < 3_000]
    for number, address in enumerate(addresses()):
        steps = range(number, number + len(values))
        # The admin refuses all of it for the first name that is none of the selection's.
        for step in drawn(steps, 4 if address.name == "admin" else 10 if address.name in SLOW else 24):
            taken = {name: values[(step + at) % len(values)] for at, name in enumerate(PARAMETERS)}
            query = "&".join(f"{name}={value}" for name, value in taken.items())
            fragment = address.fragments[0] if address.fragments and step % 5 else ""
            walk("GET", address.url(query), address, headers=address.headers(fragment))
    walk.judged()


def test_t01_one_value_in_one_parameter(walk):
    """What hides behind the other parameters there: each value alone, and in turn at every address."""
    order = random.Random(SEED)  # noqa: S311
    questions = [(name, value) for name in PARAMETERS for value in HOSTILE]
    order.shuffle(questions)
    every = [(address, fragment) for address in addresses() for fragment in (*address.fragments, "")]
    for (name, value), (address, fragment) in zip(drawn(questions, 600), cycle(every), strict=False):
        walk("GET", address.url(f"{name}={value}"), address, headers=address.headers(fragment))
    walk.judged()


def test_t01_some_parameters_at_random(walk):
    order = random.Random(SEED + 1)  # noqa: S311
    every = addresses()
    for _ in drawn(range(3_000), 300):
        address = order.choice(every)
        fragment = order.choice(["", *address.fragments])
        pairs = [f"{order.choice(PARAMETERS)}={order.choice(HOSTILE)}" for _ in range(order.randint(2, 4))]
        walk("GET", address.url("&".join(pairs)), address, headers=address.headers(fragment))
    walk.judged()


def test_t01_q06_q17_however_often_and_however_long(walk):
    repeated = ["&".join([f"{name}=%27x{n}" for n in range(500)]) for name in ("layer_name", "status", "sort", "q")]
    longest = [f"{name}={'x' * 100_000}" for name in ("layer_name", "q", "sort", "evil", "a")]
    many = ["a=1&" * 1_100, "&".join(f"p{n}=1" for n in range(1_100)), "&" * 5_000, "=" * 5_000]
    wide = ["&".join(f"{name}={n:0200}" for name in ("layer_name", "model_name", "topic") for n in range(50))]
    questions = [(address, query) for address in addresses() for query in (*repeated, *longest, *many, *wide)]
    for number, (address, query) in enumerate(drawn(questions, 100)):
        fragment = address.fragments[0] if address.fragments and number % 3 else ""
        walk("GET", address.url(query), headers=address.headers(fragment))
    walk.judged()


def test_t01_addresses_that_are_none(walk):
    parts = [*HOSTILE, "a/b", "src:3", "stats", "csv", "%2e%2e", "%2F", "run%2Ferrors", ".", "%25ff", "x" * 65]
    root, listed = reverse("layer_runs:list"), reverse("admin:layer_runs_layerrun_changelist")
    shapes = [f"{root}{{}}/", f"{root}{{}}/errors/", f"{root}{{}}/raw/", f"{root}export/{{}}/"]
    shapes += [f"{root}{{}}", f"{listed}{{}}/change/", f"{listed}{{}}/delete/"]
    for shape, part in drawn([(shape, part) for shape in shapes for part in parts], 500):
        walk("GET", shape.format(part))
    walk.judged()


HEADERS = [
    *({"HX-Current-URL": url} for url in ("http://[", "http://testserver//evil.example/", "javascript:alert(1)")),
    *({"HX-Current-URL": f"http://testserver/layer-runs/?{query}"} for query in ("%00", "a=1&" * 1_100, "page=%ff")),
    *({"HX-Current-URL": url} for url in ("http://testserver:99999/", "http://testserver", "\xff\xfe", "x" * 9_000)),
    {"HX-Current-URL": "http%3A//%5B", "HX-Current-URL-URI-AutoEncoded": "true"},
    {"HX-Current-URL": "http%3A//testserver/%0d%0aX: y%00", "HX-Current-URL-URI-AutoEncoded": "true"},
    *({"HX-Target": target} for target in ("run-choices-evil", "run-choices-", "__class__", "x" * 9_000, "\xff")),
    *({"HX-Target": f"run-choices-{name}"} for name in ("needs_details", "q", "since", *menu_names())),
    *({"HX-Boosted": "true"}, {"HX-History-Restore-Request": "true"}, {"HX-Trigger": "\xff", "HX-Prompt": "x" * 9_000}),
    *({"Host": host} for host in ("evil.example", "testserver:99999", "[::1", "a b", "", "testserver/evil", "\xff")),
    *({"X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": proto} for proto in ("https", "gopher")),
    *({"Accept-Language": text} for text in ("de;q=NaN", ";;;,,,", "x-" * 3_000, "\xff", "de,en;q=1e400")),
    *({"Accept": text} for text in ("text/csv;q=nonsense", "*" * 3_000)),
    *({"Content-Type": f"text/html; charset={name}"} for name in ("utf-99", "utf-16", "utf-7", "")),
    *({"Content-Type": text} for text in ("multipart/form-data", "application/json", "\xff", ";" * 3_000)),
    *({"Range": "bytes=0-99999999999999"}, {"If-None-Match": '"x', "If-Modified-Since": "99 Foo 0000 99:99:99 GMT"}),
    *({"Content-Length": text} for text in ("abc", "-1", "9" * 5_000)),
    *({"X-HTTP-Method-Override": "DELETE"}, {"Referer": "http://["}, {"Origin": "null"}, {"User-Agent": "\xff"}),
]
COOKIES = ["messages=garbage", "csrftoken=%00", "messages=\xff\xfe", "x" * 9_000, "a=b; ; =;", 'messages="\\777"']


def test_t01_headers(walk):
    session = walk.client.cookies["sessionid"].value
    questions = [(headers, address) for headers in HEADERS for address in addresses()]
    for headers, address in drawn(questions, 300):
        fragment = address.headers(address.fragments[0] if address.fragments else "run-results")
        # Read as UTF-7, as a header can say, this ends in a NUL.
        walk("GET", address.url("status=failed&q=%2BAAA-"), headers=fragment | headers)
    for cookie in COOKIES:
        for address in addresses()[:3]:
            walk("GET", address.url(""), headers={"Cookie": f"sessionid={session}; {cookie}"})
    for cookie in (*COOKIES, "sessionid=%00", "sessionid=" + "x" * 5_000, "sessionid=\xff", "sessionid='"):
        walk("GET", reverse("layer_runs:list"), headers={"Cookie": cookie})
    walk.judged()


BODIES = [
    ("", ""),
    ("application/x-www-form-urlencoded", "status=%00&a=%ff"),
    ("multipart/form-data; boundary=x", '--x\r\nContent-Disposition: form-data; name="a\0"\r\n\r\n\xff\r\n--x--\r\n'),
    ("multipart/form-data", "no boundary"),
    ("application/json", "{" * 3_000),
]


def test_t01_q21_methods(walk):
    for address in addresses():
        for method in ("POST", "PUT", "PATCH", "DELETE", "TRACE", "OPTIONS", "HEAD", "PROPFIND", "G\u00c9T", "get"):
            if address.name == "admin" and method in ("POST", "get", "PROPFIND"):
                continue
            for kind, body in BODIES if method == "POST" else BODIES[:1]:
                response = walk(method, address.url("status=bogus"), content_type=kind, data=body)
                if address.name != "admin" and method not in ("OPTIONS", "HEAD", "get"):
                    assert response.status_code in (400, 405), (method, address.path)
    walk.judged()
    assert LayerRun.objects.count() == 4


FIELDS = ("action", "_selected_action", "select_across", "index", "post", "confirm", "count", "number", "next", "_save")


def test_t01_forms_of_the_admin(walk):
    """Whatever is posted there, nobody who may not have what it deletes loses a run."""
    walk.client.force_login(StaffFactory())
    order = random.Random(SEED + 2)  # noqa: S311
    posted = [address for address in addresses() if address.name == "admin"]
    actions = ["export_csv", "export_json", "delete_selected"]
    for number, value in zip(range(200), cycle(HOSTILE), strict=False):
        fields = dict.fromkeys(order.sample(FIELDS, 4), value) | {"action": actions[number % 3]}
        if number % 2:
            fields |= {"_selected_action": "run", "index": "0"}
        body = "&".join(f"{name}={text}" for name, text in fields.items())
        address = posted[number % len(posted)]
        walk("POST", address.url(""), content_type="application/x-www-form-urlencoded", data=body)
    for kind, body in BODIES:
        for address in posted:
            walk("POST", address.url("status=bogus"), content_type=kind, data=body)
    walk.judged()
    assert LayerRun.objects.count() == 4
