from __future__ import annotations

from datetime import timedelta

from django.test import override_settings

from layer_runs.conf import DEFAULTS, get_config


def test_it_has_the_defaults_where_the_site_says_nothing() -> None:
    with override_settings(LAYER_RUNS={}):
        assert get_config() == DEFAULTS


def test_it_works_on_a_site_without_the_setting(settings) -> None:
    del settings.LAYER_RUNS
    assert get_config() == DEFAULTS


def test_a_site_overrides_one_setting_and_keeps_the_others() -> None:
    with override_settings(LAYER_RUNS={"CRASHED_AFTER": timedelta(minutes=5)}):
        assert get_config() == DEFAULTS | {"CRASHED_AFTER": timedelta(minutes=5)}


def test_it_follows_each_change_and_forgets_it_afterwards() -> None:
    before = get_config()["CRASHED_AFTER"]
    for minutes in (1, 2):
        with override_settings(LAYER_RUNS={"CRASHED_AFTER": timedelta(minutes=minutes)}):
            assert get_config()["CRASHED_AFTER"] == timedelta(minutes=minutes)
    assert get_config()["CRASHED_AFTER"] == before


def test_a_change_of_another_setting_costs_nothing() -> None:
    before = get_config()
    with override_settings(TIME_ZONE="UTC"):
        assert get_config() is before


def test_an_overridden_setting_never_leaks_into_the_defaults() -> None:
    with override_settings(LAYER_RUNS={"ADMIN_SITE": "elsewhere.site"}):
        assert get_config()["ADMIN_SITE"] == "elsewhere.site"
        assert DEFAULTS["ADMIN_SITE"] == "django.contrib.admin.site"


def test_a_run_without_a_sign_of_life_has_crashed_after_an_hour() -> None:
    assert DEFAULTS["CRASHED_AFTER"] == timedelta(hours=1)
