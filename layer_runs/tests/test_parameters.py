"""The rarer parameters: what each keeps, what it says of a mistake, and who may ask it."""

from __future__ import annotations

import re
from datetime import timedelta
from urllib.parse import parse_qs, quote, urlencode, urlsplit

import pytest
from django.http import QueryDict
from django.urls import reverse

from layer_runs.filters import LayerRunFilterSet
from layer_runs.forms import AmountField, DurationField, FlagField
from layer_runs.models import ErrorLine, LayerRun
from layer_runs.tests.factories import LayerRunFactory, LlmCallFactory

pytestmark = pytest.mark.django_db
SECRET = ("node", "topic", "error", "exclude_error")
HOSTILE = "<script>x()</script>\" ' onmouseover=x"


@pytest.fixture
def runs() -> dict[str, LayerRun]:
    """A few runs, each of its own kind, by name."""
    boom = {"topic": "user:1", "error": "Error code: 529 - {'error': {'message': 'Overloaded'}}", "node": "reflect"}
    late = {"topic": "user:2", "error": "Request timed out.", "node": "gather"}
    plain = LayerRunFactory(id="plain", layer_hash="h1", took=timedelta(seconds=90))
    LayerRunFactory(id="erring", layer_hash="h2", errors=[boom], took=timedelta(seconds=89.9), model_profile="p")
    both = LayerRunFactory(
        id="both", layer_name="other", errors=[late, boom], estimated_cost_usd="0.5", took=timedelta(hours=1)
    )
    LayerRunFactory(id="late", layer_name="third", errors=[late, late], estimated_cost_usd="0.499999999")
    LayerRunFactory(id="open", under_way=True, estimated_cost_usd=None, layer_name="third", unpriced_tokens=7)
    LlmCallFactory(run=plain, call_type="summary", model_name="small")
    LlmCallFactory(run=plain, call_type="reflection", model_name="large")
    LlmCallFactory(run=both, call_type="summary", model_name="large")
    return {run.pk: run for run in LayerRun.objects.all()}


def fingerprint(word: str) -> str:
    return ErrorLine.objects.filter(message__contains=word).first().fingerprint


def filled_in(query: str) -> str:
    """A query whose errors stand for their fingerprints."""
    return query.replace("BOOM", fingerprint("Overloaded")).replace("LATE", fingerprint("timed out"))


def selection(query: str, **options) -> LayerRunFilterSet:
    return LayerRunFilterSet(QueryDict(query), LayerRun.objects.all(), path="/runs/", **options)


EVERYBODY = "plain erring both late open"
KEPT = {
    "layer_hash=h1": "plain",
    "layer_hash=h1&layer_hash=h2": "plain erring",
    "layer_hash=h": "",
    "model_profile=p": "erring",
    "model_profile=p&model_profile=reflection": EVERYBODY,
    "call_type=summary": "plain both",
    "call_type=reflection": "plain",
    "call_type=summary&called=small": "plain",
    "called=large": "plain both",
    "called=large&called=small": "plain both",
    # Those that runs name are none that they called.
    "called=claude-sonnet-4-6": "",
    "node=reflect": "erring both",
    "node=Reflect": "",
    "node=gather&node=reflect": "erring both late",
    "topic=user:2": "both late",
    "topic=user:": "",
    "error=BOOM": "erring both",
    "error=BOOM&error=LATE": "erring both late",
    # Of one line of errors, or of calls to one model for one purpose.
    "error=BOOM&node=gather": "",
    "error=BOOM&node=reflect": "erring both",
    "error=none": "",
    "exclude_error=BOOM": "plain late open",
    "exclude_error=BOOM&exclude_error=LATE": "plain open",
    "error=BOOM&exclude_error=LATE": "erring",
    "exclude_error=none": EVERYBODY,
    "exclude_layer=other": "plain erring late open",
    "exclude_layer=other&exclude_layer=third": "plain erring",
    "exclude_layer=nobody": EVERYBODY,
    "layer_name=other&exclude_layer=other": "",
    "has_errors=1": "erring both late",
    "has_errors=0": "plain open",
    "has_errors=TRUE": "erring both late",
    "has_errors=off": "plain open",
    "unpriced=1": "open",
    "unpriced=Yes": "open",
    "unpriced=0": "plain erring both late",
    "unpriced=1&layer_name=other": "",
    "min_cost=0.5": "both",
    "min_cost=$0.50": "both",
    "min_cost=.499999999": "both late",
    "min_cost=0.4999999991": "both",
    "min_cost=0.000000001": "plain erring both late",
    "min_cost=999,999": "",
    "min_cost=0": EVERYBODY,
    "min_duration=90": "plain both late",
    "min_duration=90s": "plain both late",
    "min_duration=89900ms": EVERYBODY.removesuffix(" open"),
    "min_duration=1.5 M": "plain both late",
    "min_duration=90.001": "both",
    "min_duration=1h": "both",
    "min_duration=60min": "both",
    "min_duration=1d": "",
    "min_duration=999999999d": "",
    "min_duration=0": EVERYBODY,
}


@pytest.mark.parametrize("query", KEPT)
def test_it_keeps_the_runs_that_it_names(runs, query):
    here = selection(filled_in(query))
    assert {run.pk for run in here.qs} == set(KEPT[query].split())
    assert list(here.complaints()) == []


SOME = [
    "layer_hash=h1",
    "call_type=summary",
    "error=BOOM",
    "exclude_error=BOOM",
    "has_errors=0",
    "unpriced=1",
    "min_duration=1.5 M",
]


@pytest.mark.parametrize("query", SOME)
def test_it_keeps_them_on_the_page_and_in_its_totals(runs, get, query):
    answer = get(f"?{filled_in(query)}")
    assert set(answer.run_ids) == set(KEPT[query].split())
    assert answer.total == answer.stats["total"] == str(len(KEPT[query].split()))
    assert answer.alerts == {}


@pytest.mark.parametrize("query", SOME)
def test_the_export_holds_the_same_runs(runs, staff_client, query):
    response = staff_client.get(reverse("layer_runs:export", args=["json"]) + f"?{filled_in(query)}")
    assert sum(1 for _line in response.streaming_content) == len(KEPT[query].split())


def test_what_is_excluded_and_what_is_kept_are_all_there_is(runs):
    def ids(query: str) -> set[str]:
        return {run.pk for run in LayerRunFilterSet(QueryDict(query), LayerRun.objects.all()).qs}

    for word in ("Overloaded", "timed out"):
        kept, excluded = ids(f"error={fingerprint(word)}"), ids(f"exclude_error={fingerprint(word)}")
        assert kept | excluded == set(runs)
        assert kept & excluded == set()
    assert ids("has_errors=1") | ids("has_errors=0") == set(runs)
    assert ids("has_errors=1") & ids("has_errors=0") == set()


def test_the_errors_of_another_time_keep_and_exclude_nothing(runs, get):
    old = LayerRunFactory(
        ago=timedelta(days=20), errors=[{"topic": "t", "error": "Request timed out.", "node": "gather"}]
    )
    for query in ("error=LATE", "node=gather"):
        assert old.pk not in get(f"?{filled_in(query)}").run_ids
        assert old.pk in get(f"?{filled_in(query)}&period=all").run_ids
    assert old.pk not in get(f"?{filled_in('exclude_error=LATE')}&period=all").run_ids


# -- mistakes


NUMBERS = [
    *(
        "1e999",
        "1e3",
        "NaN",
        "sNaN",
        "Infinity",
        "-1",
        "-0.01",
        "+1",
        "٣",
        "１",
        "1_000",
        "0x10",
        "1.2.3",
        "$",
        ".",
        "$-1",
    ),
    *("abc", HOSTILE, "9" * 5_000, "0" * 5_000 + "1", "0." + "0" * 5_000 + "1", "\x00", "1\x00", "1 2", "½"),
]
BAD = [
    *(("min_cost", value) for value in [*NUMBERS, "1000000", "1,000,000", "1e-99999999999999999999", "1s"]),
    *(("min_duration", value) for value in [*NUMBERS, "$1", "1y", "s", "1,5", "1" + " " * 5_000 + "s", "1 day", "1ſ"]),
    *(
        (name, value)
        for name in ("has_errors", "unpriced")
        for value in ["2", "-1", "maybe", "NaN", HOSTILE, "x" * 5_000, "\x00", "yes\x00", "١", "jа"]
    ),
    *((name, "x" * 201) for name in ("layer_hash", "model_profile", "call_type", "called", "exclude_layer", *SECRET)),
]


@pytest.mark.parametrize(("name", "value"), BAD, ids=lambda value: ascii(value)[:24])
def test_q09_a_bad_value_drops_itself_alone_and_says_so_in_short(name, value):
    here = selection(urlencode({name: value, "source": "s"}))
    ((complained, _label, message),) = here.complaints()
    assert complained == name
    assert len(message) < 200
    assert here.parameters() == {"source": ["s"]}
    assert here.link() == "/runs/?source=s"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("min_cost", "NaN"),
        ("min_duration", "٣"),
        ("has_errors", HOSTILE),
        ("error", "x" * 201),
        ("min_cost", "9" * 5_000),
    ],
    ids=lambda value: ascii(value)[:24],
)
def test_q09_a_page_says_of_a_bad_value_what_an_export_refuses(runs, get, staff_client, name, value):
    query = urlencode({name: value, "exclude_layer": "third"})
    answer = get(f"?{query}")
    assert list(answer.alerts) == [name]
    assert "This filter was left out." in answer.alerts[name]
    assert set(answer.run_ids) == {"plain", "erring", "both"}
    assert set(answer.chips) == {"Without layer third"}
    assert answer.live_parts == []
    for kind in ("csv", "json"):
        response = staff_client.get(reverse("layer_runs:export", args=[kind]) + f"?{query}")
        assert response.status_code == 400
        assert len(response.content) < 500


VALUES = ("layer_hash", "model_profile", "call_type", "called", "exclude_layer", *SECRET)


@pytest.mark.parametrize("name", VALUES)
def test_q09_more_values_than_a_page_has_room_for_are_left_out(runs, name):
    fifty = urlencode([(name, number) for number in range(50)])
    assert list(selection(fifty).complaints()) == []
    ((complained, _label, message),) = selection(f"{fifty}&{name}=x").complaints()
    assert (complained, message) == (name, "No more than 50 values at once.")
    assert selection(f"{fifty}&{name}=x").qs.count() == len(runs)


ODD = ["%00", "a%00b", "%ff%fe", "%ed%a0%80", "😀", "%25", "_", "' OR 1=1 --", quote(HOSTILE), "٣", "x" * 200, "\u202e"]


@pytest.mark.parametrize("name", VALUES)
def test_q15_a_value_that_is_not_there_is_a_question_too(runs, name):
    for value in ODD:
        here = selection(f"{name}={value}")
        assert list(here.complaints()) == []
        assert here.qs.count() == (len(runs) if name.startswith("exclude") else 0)
        assert selection(here.link().partition("?")[2]).parameters() == here.parameters()


@pytest.mark.parametrize("names", [VALUES[:4], VALUES[4:]], ids=" ".join)
def test_q15_a_page_survives_all_of_them_at_once(runs, get, names):
    # But for what is no text, which is refused altogether: see test_guard.py.
    texts = [value for value in ODD if not set(re.findall("%..", value)) & {"%00", "%ff", "%ed"} and len(value) < 200]
    answer = get("?" + "&".join(f"{name}={value}" for name in names for value in texts))
    assert (answer.alerts, answer.run_ids, answer.live_parts) == ({}, [], [])


@pytest.mark.parametrize("name", ["min_cost", "min_duration", "has_errors"])
def test_it_shows_again_what_was_typed(runs, staff_client, dom, name):
    page = dom(staff_client.get(reverse("layer_runs:list") + f"?{name}={quote(HOSTILE)}"))
    boxes = [box for box in page.all("input[@type!='checkbox']") + page.all("input") if box.get("name") == name]
    assert name == "has_errors" or boxes[0].get("value") == HOSTILE


@pytest.mark.parametrize(
    ("field", "text", "value"),
    [
        (AmountField, "$1,234.5", "1234.500000000"),
        (AmountField, "0.0000000001", "1E-9"),
        (AmountField, "999999.999999999", "999999.999999999"),
        (AmountField, " 5. ", "5.000000000"),
        (DurationField, "0.0001", 1),
        (DurationField, "1.5h", 5_400_000),
        (DurationField, "250MS", 250),
        (FlagField, "On", "yes"),
        (FlagField, "FALSE", "no"),
    ],
)
def test_a_field_reads_what_people_write(field, text, value):
    assert str(field(required=False).clean(text)) == str(value)


# -- who may ask


@pytest.mark.parametrize("name", SECRET)
@pytest.mark.parametrize("value", ["BOOM", "reflect", "x" * 201])
def test_who_may_not_see_details_learns_nothing_by_asking(runs, get, blind_client, name, value):
    plain = get("", client=blind_client)
    query = f"?{name}={filled_in(value)}"
    answer = get(query, client=blind_client)
    assert list(answer.alerts) == [name]
    if len(value) <= 200:
        assert "needs the permission to view run details" in answer.alerts[name]
    assert answer.run_ids == plain.run_ids
    assert answer.stats == plain.stats
    assert answer.chips == {}
    assert not [link for link in answer.links if f"{name}=" in link]
    for kind in ("csv", "json"):
        assert blind_client.get(reverse("layer_runs:export", args=[kind]) + query).status_code == 400
    for part in answer.all("input[@type='hidden']"):
        assert part.get("name") != name


def test_that_there_are_errors_is_for_everybody_to_know(runs, get, blind_client):
    assert set(get("?has_errors=1", client=blind_client).run_ids) == {"erring", "both", "late"}
    assert set(get("?call_type=summary&called=large", client=blind_client).run_ids) == {"both"}


# -- chips, links and the form


GIVEN = {
    "layer_hash": ["a87efb9b10c24d5f", "h2"],
    "model_profile": ["p & q"],
    "call_type": ["summary"],
    "called": ["small", "large"],
    "node": ["reflect"],
    "topic": ["user:1"],
    "exclude_layer": ["third"],
    "has_errors": ["1"],
    "unpriced": ["0"],
    "min_cost": ["$0.5"],
    "min_duration": ["90s"],
}
SPOKEN = {
    *(
        "Version a87efb9b",
        "Version h2",
        "Profile p & q",
        "Call type summary",
        "Model called small",
        "Model called large",
    ),
    *("Node reflect", "Failed target user:1", "Error Overloaded, reflect", "Without error Request timed out, gather"),
    *("Without layer third", "Has errors yes", "Unpriced no", "Costs at least $0.5", "Takes at least 90s"),
}


def everything() -> dict[str, list[str]]:
    return GIVEN | {"error": [fingerprint("Overloaded")], "exclude_error": [fingerprint("timed out")]}


def test_each_part_is_a_chip_in_the_words_of_people_that_takes_it_away(runs, get, query_of):
    given = everything()
    answer = get("?" + urlencode(given, doseq=True))
    assert set(answer.chips) == SPOKEN
    left = [query_of(url) for url in answer.chips.values()]
    parts = [(name, value) for name, values in given.items() for value in values]
    for rest in left:
        kept = [(name, value) for name, values in rest.items() for value in values]
        assert len(set(parts) - set(kept)) == 1
        assert set(kept) < set(parts)
    assert len({str(rest) for rest in left}) == len(SPOKEN)
    assert query_of(answer.link("clear")) == {}


def test_an_error_that_is_not_there_is_called_by_its_fingerprint(runs, get):
    assert set(get("?error=0123&unpriced=true").chips) == {"Error 0123", "Unpriced yes"}
    assert set(get("?error=0123&has_errors=0").chips) == {"Error 0123", "Has errors no"}


def test_an_error_is_called_by_its_newest_message_as_text(get):
    LayerRunFactory(errors=[{"topic": "t", "error": f"{HOSTILE} failed 1 times", "node": ""}], ago=timedelta(hours=3))
    LayerRunFactory(errors=[{"topic": "t", "error": f"{HOSTILE} failed 2 times", "node": ""}])
    (one,) = set(ErrorLine.objects.values_list("fingerprint", flat=True))
    answer = get(f"?error={one}")
    assert [chip for chip in answer.chips if chip.endswith("failed 2 times")]
    assert answer.live_parts == []


def test_its_links_and_exports_keep_every_parameter(runs, get, query_of):
    given = everything() | {
        "layer_hash": ["h2", "h3"],
        "model_profile": ["p"],
        "min_cost": ["0.1"],
        "min_duration": ["1"],
    }
    del given["call_type"], given["called"]
    answer = get("?" + urlencode(given | {"sort": "cost"}, doseq=True))
    assert answer.run_ids == ["erring"]
    # The lenses, the exports, the admin; what sorts; and the run.
    links = answer.all("a[@data-selection-link]") + answer.all("th[@scope='col']/a") + answer.all("tr[@data-run-id]//a")
    assert len(links) >= 5
    for link in links:
        asked = query_of(link.get("href"))
        assert {name: asked.get(name) for name in given} == given


def sent(answer) -> list[tuple[str, str]]:
    """What the form would send as it stands, with what is carried along for it."""
    boxes = list(answer.all("form[@id='run-filters']//input"))
    boxes += answer.all("input[@form='run-filters']")
    assert len(boxes) == len({id(box) for box in boxes})
    checkable = ("checkbox", "radio")
    return [
        (box.get("name"), box.get("value"))
        for box in boxes
        if box.get("value") and (box.get("type") not in checkable or box.get("checked") is not None)
    ] + [
        (select.get("name"), option.get("value"))
        for select in answer.all("form[@id='run-filters']//select")
        for option in select
        if option.get("selected") is not None
    ]


@pytest.mark.parametrize(
    "query",
    [
        "",
        "layer_name=third&status=success&source=s&model_name=m&q=x&sort=cost&per_page=50",
        "has_errors=1&min_cost=1&min_duration=2m&exclude_layer=third&exclude_layer=gone",
        "has_errors=0",
        "has_errors=no&layer_name=other",
        "unpriced=yes&layer_name=other",
        "unpriced=0",
        "layer_hash=h1",
        "layer_hash=h1&layer_hash=h2",
        "node=a&node=b&topic=t&call_type=c&called=m&model_profile=p&error=BOOM&exclude_error=LATE",
        "since=2026-01-01&until=2200-01-01&error=BOOM",
        "error=BOOM&period=30d",
        "live=1&error=BOOM",
        "status=bogus&min_cost=NaN&evil=1&page=3",
    ],
)
def test_the_form_sends_the_selection_again_each_part_once(runs, staff_client, dom, query):
    page = dom(staff_client.get(reverse("layer_runs:list") + "?" + filled_in(query)))
    again = sent(page)
    assert len(again) == len(set(again))
    ours = LayerRunFilterSet(QueryDict(filled_in(query)), LayerRun.objects.all())
    theirs = LayerRunFilterSet(QueryDict(urlencode(again)), LayerRun.objects.all())
    assert theirs.parameters() == ours.parameters()
    carried = {
        name: values for name, values in parse_qs(filled_in(query)).items() if name in ("sort", "per_page", "live")
    }
    assert {name: [value] for name, value in again if name in ("sort", "per_page", "live")} == carried


def test_what_is_carried_along_is_in_the_fragment_too(runs, get):
    hidden = get("?" + urlencode(everything(), doseq=True)).all("input[@type='hidden'][@form='run-filters']")
    got = [(box.get("name"), box.get("value")) for box in hidden]
    without_control = ("layer_hash", "model_profile", "call_type", "called", "node", "topic", "error", "exclude_error")
    without_control += ("unpriced",)
    assert sorted(got) == sorted((name, value) for name in without_control for value in everything()[name])


def test_a_page_of_many_errors_costs_no_more_queries_than_one_of_two(runs, staff_client, django_assert_max_num_queries):
    url = reverse("layer_runs:list") + "?" + urlencode([("error", number) for number in range(50)])
    headers = {"HX-Request": "true", "HX-Target": "run-results"}
    # A fixed number for the page, and one for the words of its errors.
    with django_assert_max_num_queries(15):
        staff_client.get(url, headers=headers)


def test_the_links_of_a_run_lead_back_to_the_same_selection(runs, staff_client, dom):
    given = {"layer_hash": ["h2", "a87efb9b10c24d5f"], "error": [fingerprint("Overloaded")], "min_duration": ["90s"]}
    page = dom(staff_client.get(reverse("layer_runs:list") + "?" + urlencode(given, doseq=True)))
    (row,) = [link.get("href") for link in page.all("tr[@data-run-id]//a")]
    assert parse_qs(urlsplit(row).query) == given
    assert staff_client.get(row).status_code == 200
