"""What is asked wrongly or oddly, by the same rules on every page: it is said, and nothing else is taken away."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from urllib.parse import quote, urlencode

import pytest
from django.urls import reverse

from layer_runs.filters import LayerRunFilterSet
from layer_runs.models import LayerRun
from layer_runs.tests.factories import LayerRunFactory

pytestmark = pytest.mark.django_db
LENSES = ("list", "layers", "errors", "costs", "stats")
DOWNLOADS = (("export", "csv"), ("export", "json"), ("layers_csv",), ("errors_csv",), ("costs_csv",))
each_lens = pytest.mark.parametrize("view", LENSES)

LONG = "x" * 201
# A mistake for every parameter that can be one; the others take any text of some length.
MISTAKES = {
    "status": ["bogus", "failed,success", "[]", "Failed", LONG],
    "period": ["7", "7D", "NaN", "-1d", "9" * 5_000],
    "since": ["garbage", "2026-13-45", "2026-11-01T25:00", "9" * 5_000, "10000-01-01"],
    "until": ["garbage", "2026-02-30", "NaN", "0000-00-00", "today"],
    "has_errors": ["2", "maybe"],
    "unpriced": ["-1", "é"],
    "min_cost": ["abc", "NaN", "Infinity", "1e400", "1e200000", "-5", "9223372036854775808"],
    "min_duration": ["abc", "NaN", "-Infinity", "1e400", "9223372036854775808", "1y"],
    "q": [LONG, "x" * 3_000],
} | dict.fromkeys(
    ["layer_name", "model_name", "source", "layer_hash", "model_profile", "call_type", "called"]
    + ["node", "topic", "error", "exclude_layer", "exclude_error"],
    [LONG],
)


@pytest.fixture
def runs() -> list[LayerRun]:
    return [LayerRunFactory(), LayerRunFactory(failing=True), LayerRunFactory(layer_name="other", failing=True)]


def total(answer) -> str:
    return answer.stats.get("total") or answer.total


def test_q09_there_is_a_mistake_here_for_every_parameter():
    assert set(MISTAKES) == set(LayerRunFilterSet.base_filters)


@pytest.mark.parametrize("name", MISTAKES)
def test_q09_q16_a_mistake_is_said_beside_its_field_and_takes_no_run_away(get, runs, name):
    # The totals have all that there is to say of a selection, and least besides.
    for value in MISTAKES[name]:
        answer = get("?" + urlencode({name: value}), "stats")
        assert list(answer.alerts) == [name]
        assert total(answer) == "3"
        label = str(LayerRunFilterSet.base_filters[name].label)
        assert answer.alerts[name].startswith(f"{label}: ")
        assert answer.alerts[name].endswith("This filter was left out.")
        assert len(answer.alerts[name]) < 200


@each_lens
def test_q09_all_mistakes_at_once_leave_the_one_filter_that_is_none(get, runs, view):
    wrong = {name: values[0] for name, values in MISTAKES.items() if name != "layer_name"}
    answer = get("?" + urlencode(wrong | {"layer_name": "other"}), view)
    assert set(answer.alerts) == set(wrong)
    assert total(answer) == "1"


@pytest.mark.parametrize("page", DOWNLOADS, ids="-".join)
def test_q09_a_download_refuses_each_mistake_and_names_it(staff_client, runs, page):
    address = reverse(f"layer_runs:{page[0]}", args=page[1:])
    for name, values in MISTAKES.items():
        response = staff_client.get(address + "?" + urlencode({name: values[0]}))
        assert response.status_code == 400
        assert response.content.decode().startswith(f"{LayerRunFilterSet.base_filters[name].label}: ")


@each_lens
def test_q09_what_nobody_has_is_no_mistake_and_matches_nothing(get, runs, view):
    answer = get("?layer_name=nobody", view)
    assert answer.alerts == {}
    assert total(answer) == "0"


def test_q10_a_run_in_an_hour_that_comes_twice_or_never_is_never_hidden(get, settings):
    settings.TIME_ZONE = "America/New_York"
    for pk, moment in {
        "first": "2025-11-02T05:45:00+00:00",  # 01:45 of summer
        "second": "2025-11-02T06:45:00+00:00",  # 01:45 of winter
        "spring": "2026-03-08T07:10:00+00:00",  # 03:10; there is no 02:10
    }.items():
        LayerRunFactory(id=pk, started_at=datetime.fromisoformat(moment))
    for query, found in {
        "since=2025-11-02T01:30&until=2025-11-02T02:00": "first second",
        "since=2025-11-02T01:50&until=2025-11-02T02:00": "second",
        "since=2025-11-02&until=2025-11-02T01:50": "first second",
        "since=2025-11-02T01:30-05:00&until=2025-11-03": "second",
        "since=2026-03-08T02:30&until=2026-03-09": "spring",
        "since=2026-03-08&until=2026-03-08T02:30": "spring",
    }.items():
        answer = get(f"?{query}")
        assert (set(answer.run_ids), answer.alerts) == (set(found.split()), {}), query


@each_lens
@pytest.mark.parametrize("edge", ["9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00+14:00"])
@pytest.mark.parametrize("name", ["since", "until"])
def test_q11_the_ends_of_the_calendar_are_moments_like_others(get, runs, view, name, edge):
    answer = get("?" + urlencode({name: edge}), view)
    assert answer.alerts == {}
    assert total(answer) == ("3" if (name == "since") == edge.startswith("0") else "0")


@each_lens
def test_q12_a_number_of_days_is_no_parameter_and_does_no_harm(get, runs, view):
    for value in ("abc", "9" * 5_000, "-1", "0", "1e400"):
        answer = get(f"?days={value}", view)
        assert (answer.alerts, total(answer)) == ({}, "3")


@each_lens
@pytest.mark.parametrize("query", ["", "?period=all", "?status=failed&since=2020-01-01"])
def test_q13_without_runs_there_is_no_rate_and_nothing_infinite(get, view, query):
    answer = get(query, view)
    assert total(answer) == "0"
    (shown,) = [part for part in answer.all("*[@id]") if part.get("id") in ("run-results", "run-stats")]
    assert not re.search(r"(?i)\bnan\b|\binf(inity)?\b|\d ?%|\bNone\b", answer.text(shown))


@pytest.mark.parametrize("view", ["list", "layers", "errors", "costs"])
def test_q05_a_sort_that_is_none_is_the_default_on_every_page(get, runs, query_of, view):
    plain = get("", view)
    for sort in ("nope", "--cost", "-", "?", "id__regex", "errors__x", "cost,-cost", "x" * 5_000):
        given = get("?" + urlencode({"sort": sort}), view)
        assert given.alerts == {}
        assert given.texts("tbody") == plain.texts("tbody")
        assert not [link for link in given.links if query_of(link).get("sort") == [sort]]


def test_q06_a_key_given_many_times_changes_nothing_but_the_order(get, runs):
    one, many = get("?sort=cost"), get("?" + "&".join(["sort=-cost"] * 400 + ["sort=cost"]))
    assert many.links == one.links
    assert len(many.source) == len(one.source)


@each_lens
def test_q17_a_query_without_an_end_is_refused_in_words(get, view):
    assert "too long" in get("?evil=" + "x" * 100_000, view, status=414).text()
    assert "too long" not in get("?evil=" + "x" * 8_000, view).text()


def test_q17_the_admin_refuses_a_query_without_an_end(staff_client):
    address = reverse("admin:layer_runs_layerrun_changelist")
    assert staff_client.get(f"{address}?q={'x' * 100_000}").status_code == 414


def test_q17_a_selection_that_no_address_could_hold_drops_what_is_longest(get, runs):
    layers = [("layer_name", f"{number:0150}") for number in range(20)]
    models = [("model_name", "claude-sonnet-4-6"), ("status", "failed")]
    answer = get("?" + urlencode(layers + models))
    assert list(answer.alerts) == ["layer_name"]
    assert "too long" in answer.alerts["layer_name"]
    assert answer.total == "2"
    assert max(map(len, answer.links)) < 500


def test_q17_no_page_is_large_for_the_length_of_a_question(get, runs):
    names = ("layer_name", "model_name", "topic", "node", "error", "exclude_layer", "called", "q")
    query = urlencode([(name, f"{number:0180}") for name in names for number in range(5)])
    for view in LENSES:
        assert len(get(f"?{query}&exclude_layer=x", view).source) < 1_000_000


@pytest.mark.parametrize("text", ["%", "_", "\\", "'", "''", "%%", "a_b", "*", ".", "\\%", '"', "(", "[", "--", ";"])
def test_q22_every_sign_means_itself(get, text):
    error = {"topic": "t", "node": "n", "error": f"before {text} after"}
    wanted = LayerRunFactory(id="wanted", errors=[error])
    LayerRunFactory(id="other", errors=[error | {"error": "before aXb after"}])
    answer = get(f"?q={quote(text)}")
    assert (answer.run_ids, answer.alerts) == ([wanted.pk], {})


@each_lens
def test_q23_of_a_single_value_the_last_counts_and_of_others_all(get, runs, view):
    assert total(get("?status=success&status=failed", view)) == "3"
    assert total(get("?has_errors=1&has_errors=0", view)) == "1"
    assert total(get("?status[]=failed&_connector=OR&layer_name__in=x&id=x&_negated=1", view)) == "3"


# -- the admin


def listing(query: str) -> str:
    return reverse("admin:layer_runs_layerrun_changelist") + query


@pytest.mark.parametrize("query", ["?p=999999", "?o=999", "?p=-1", "?p=abc", "?o=x", "?p=" + "9" * 5_000])
def test_q19_a_page_or_an_order_that_is_none_leads_back_to_the_list(staff_client, dom, runs, query):
    answer = dom(staff_client.get(listing(query), follow=True))
    assert len(answer.all("table[@id='result_list']/tbody/tr")) == 3


def test_q19_a_look_up_by_year_is_no_parameter_of_the_admin(staff_client):
    assert staff_client.get(listing("?started_at__year=99999")).status_code == 400


def test_q20_all_of_a_long_list_is_not_shown_at_once(staff_client, dom):
    LayerRun.objects.bulk_create(LayerRunFactory.build_batch(201, took=timedelta(seconds=1)))
    answer = dom(staff_client.get(listing("?all=1"), follow=True))
    assert len(answer.all("table[@id='result_list']/tbody/tr")) == 50


def test_q20_a_search_has_an_end_and_says_so(staff_client, dom, runs):
    """Words are one text here, as in the monitor: two hundred of them are no two hundred conditions."""
    answer = dom(staff_client.get(listing("?q=" + "+".join(["word"] * 200))))
    assert len(answer.all("table[@id='result_list']/tbody/tr")) == 3
    assert "This filter was left out." in answer.text("ul[@class='messagelist']")


# -- who asks


@pytest.mark.parametrize(
    "elsewhere", ["http://[", "http://testserver//evil.example/", "javascript:x", "\xff", "x" * 9000]
)
@pytest.mark.parametrize("view", ["list", "live", "stats"])
def test_q15_a_page_that_htmx_says_to_ask_from_need_be_none(staff_client, client, runs, view, elsewhere):
    headers = {"HX-Request": "true", "HX-Target": "run-results", "HX-Current-URL": elsewhere}
    address = reverse(f"layer_runs:{view}") + "?after=1"
    answer = staff_client.get(address, headers=headers)
    assert answer.status_code == 200
    assert "evil.example" not in answer.content.decode()
    refused = client.get(address, headers=headers)
    assert refused.status_code == 401
    assert "evil" not in refused.headers.get("HX-Redirect", "")


@pytest.mark.parametrize("charset", ["utf-7", "utf-16", "utf-32"])
def test_q14_q15_no_header_makes_a_nul_of_harmless_bytes(staff_client, charset):
    for address in (reverse("layer_runs:list"), listing("")):
        response = staff_client.get(f"{address}?q=%2BAAA-", headers={"Content-Type": f"text/html; charset={charset}"})
        assert response.status_code == 400
