from __future__ import annotations

import pytest
from django.core.handlers.wsgi import WSGIHandler
from django.test import RequestFactory

from zos_site.serving import in_utf8

pytestmark = pytest.mark.django_db


def status_of(application, content_type: str, query: str) -> str:
    # Not by a request of Django's own, which fails to be made.
    environ = RequestFactory()._base_environ(PATH_INFO="/admin/login/", QUERY_STRING=query, CONTENT_TYPE=content_type)
    said = []
    application(environ, lambda status, headers, *rest: said.append(status)).close()
    return said[0]


@pytest.mark.parametrize("name", ["hex", "idna", "utf-7", "UTF-8", "punycode", '"hex"'])
@pytest.mark.parametrize("query", ["q=%2BAAA-", "a=1&" * 1_100], ids=["few", "many"])
def test_q15_q17_no_character_set_of_a_request_ends_in_an_error_of_the_server(name, query):
    application = in_utf8(WSGIHandler())
    status = status_of(application, f"text/html; charset={name}; a=b", query)
    assert status.startswith(("200", "302", "400"))


def test_it_leaves_the_kind_of_a_request_and_its_boundary_alone():
    seen = []

    def application(environ, start_response):
        return seen.append(environ["CONTENT_TYPE"]) or []

    for kind in ("", "multipart/form-data; boundary=x", "application/x-www-form-urlencoded; Charset = utf-7"):
        in_utf8(application)({"CONTENT_TYPE": kind}, None)
    assert seen == ["", "multipart/form-data; boundary=x", "application/x-www-form-urlencoded"]
