"""What stands around every view: the headers of its answer, and an answer in place of a failure.

Nothing here asks the database: it is what is left to say when that is away.
"""

from __future__ import annotations

import codecs
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import wraps
from io import BytesIO
from itertools import chain, islice
from urllib.parse import unquote_to_bytes, urlsplit

from django.conf import settings
from django.core.exceptions import BadRequest, PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.core.handlers.exception import response_for_exception
from django.db import DatabaseError, InterfaceError, OperationalError, connections
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, UnreadablePostError
from django.http.multipartparser import MultiPartParser, MultiPartParserError
from django.http.request import RawPostDataException
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.utils.cache import patch_vary_headers
from django.utils.log import log_response
from django.utils.translation import gettext as _

from .conf import get_config

logger = logging.getLogger("layer_runs.storage")

# HSTS is not here: how a site is reached is not for one of its apps to say.
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}
CACHE_CONTROL = "private, no-store"
VARIES = ("Cookie", "HX-Request", "HX-Target", "HX-History-Restore-Request")
# In seconds: a restart of a database is over by then, a full disk is not.
RETRY_AFTER = 5
# In bytes: what servers take for a line of a request.
LONGEST_QUERY = 8_192
# What a request may say it is written in. Others, as UTF-7, make of harmless bytes what is not harmless.
_ENCODINGS = ("utf-8", "ascii", "iso8859-1")

# What Django answers with a page of the site's own.
_ANSWERED = (Http404, PermissionDenied, BadRequest, SuspiciousOperation, MultiPartParserError)
# SQLite's result codes (sqlite.org/rescode.html) that speak of the file and not of the query.
_SQLITE = tuple(
    f"SQLITE_{word}"
    for word in ("BUSY", "LOCKED", "FULL", "IOERR", "CANTOPEN", "READONLY", "CORRUPT", "NOTADB", "PROTOCOL")
)
# PostgreSQL's (its manual, appendix A): the connection, a conflict that a second try ends, resources, an operator or a
# timeout, the system, a lock that was not given, a standby that does not write, damage. The last one is a table that
# is not there: the site was not migrated yet.
_SQLSTATES = ("08", "40", "53", "57", "58", "55P03", "25006", "XX001", "XX002", "42P01")
_TOOK_TOO_LONG = "57014"

# What Django's handler writes for a byte of a path that it cannot decode.
_ENCODED_ANEW = re.compile("%[89A-F][0-9A-F]")


def guarded(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """Let a view answer with the app's headers, whatever becomes of the request. A mistake of ours stays an error."""

    @wraps(view)
    def inner(request: HttpRequest, *args: object, **kwargs: object) -> HttpResponseBase:
        def answer() -> HttpResponseBase:
            if is_too_long(request):
                return too_long()
            if is_unreadable(request) or has_unreadable_field(request):
                return refusal()
            return _begun(view(request, *args, **kwargs), request)

        return dressed(_answered(answer, request))

    return inner


class GuardedTemplateResponse(TemplateResponse):
    """A page that is guarded while it is made, which is after its view, and after middleware that looks at it."""

    def render(self) -> HttpResponseBase:
        return dressed(_answered(super().render, self._request))


def _answered(make: Callable[[], HttpResponseBase], request: HttpRequest) -> HttpResponseBase:
    try:
        return make()
    except _ANSWERED as error:
        return response_for_exception(request, error)
    except Exception as error:
        if not is_storage_failure(error):
            raise
        return unavailable(request, error)


def _begun(response: HttpResponseBase, request: HttpRequest) -> HttpResponseBase:
    """Begin a download before its status is sent: its head, and the row that has to be asked for."""
    if response.streaming and not response.is_async and request.method != "HEAD":
        chunks = iter(response)
        response.streaming_content = chain(list(islice(chunks, 2)), chunks)
    return response


def dressed(response: HttpResponseBase) -> HttpResponseBase:
    """Return the response with the app's headers."""
    headers = HEADERS | ({"Content-Security-Policy": policy} if (policy := content_security_policy()) else {})
    for name, value in headers.items():
        response.headers.setdefault(name, value)
    response.headers["Cache-Control"] = CACHE_CONTROL
    # Set here and not in a middleware: a cache that wraps the view must see it.
    patch_vary_headers(response, VARIES)
    return response


def content_security_policy() -> str:
    """Return the policy in force, or an empty text where the site has its own."""
    static = urlsplit(settings.STATIC_URL or "")
    origin = f"{static.scheme}://{static.netloc}" if static.scheme and static.netloc else static.netloc
    policy = (get_config()["CSP"] or "").replace("{static}", origin)
    return "; ".join(" ".join(directive.split()) for directive in policy.split(";") if directive.strip())


# -- a storage that is away


def is_storage_failure(error: BaseException | None) -> bool:
    """Return whether a database could not do its work, as opposed to being asked for something that is wrong."""
    cause = error.__cause__ if isinstance(error, DatabaseError | InterfaceError) else None
    if cause is None:
        return False
    if type(cause).__module__.startswith("sqlite3"):
        missing = str(cause).startswith("no such table")
        return missing or getattr(cause, "sqlite_errorname", "").startswith(_SQLITE)
    state = _state(error)
    if state is None:
        # Nobody answered at all. A mistake of ours has no code either, but is of another kind.
        return isinstance(error, OperationalError | InterfaceError)
    return state.startswith(_SQLSTATES)


def _state(error: BaseException) -> str | None:
    """Return PostgreSQL's code of what went wrong."""
    return getattr(error.__cause__, "sqlstate", None) or getattr(error.__cause__, "pgcode", None)


def unavailable(request: HttpRequest, error: BaseException | None = None) -> HttpResponseBase:
    """Return what is said while the storage is away. The error is logged, in one line, where it was not yet."""
    text = _("The database does not answer at the moment. Try again in a few seconds.")
    if error is not None and _state(error) == _TOOK_TOO_LONG:
        text = _("The database was not ready in time. Ask for less, such as a shorter period, or try again.")
    response = HttpResponse(text, content_type="text/plain; charset=utf-8")
    if request.headers.get("HX-Request") != "true":
        again = request.get_full_path() if request.method in ("GET", "HEAD") else ""
        # Static files that were never collected, a template of the host's own: bare words are better than a crash.
        with suppress(Exception):
            response = HttpResponse(render_to_string("layer_runs/unavailable.html", {"text": text, "again": again}))
    response.status_code = 503
    response.headers["Retry-After"] = str(RETRY_AFTER)
    if error is not None:
        said = (request.method, request.path, type(error).__name__, str(error))
        log_response("Storage failed at %s %s: %s: %s", *said, response=response, request=request, logger=logger)
        _let_go()
    return dressed(response)


def _let_go() -> None:
    """Close the connections that failed, so that the next request gets others."""
    for connection in connections.all(initialized_only=True):
        if connection.errors_occurred and not connection.in_atomic_block:
            connection.close()


# -- what is no text


def is_unreadable(request: HttpRequest) -> bool:
    """Return whether the path, the query or a cookie holds a NUL, or bytes that are not UTF-8.

    Django reads such bytes as U+FFFD or leaves them encoded, so it is what the server was sent that is looked at.
    """
    if request.encoding is not None and codecs.lookup(request.encoding).name not in _ENCODINGS:
        return True
    return any(map(_is_no_text, _address(request))) or any("\0" in cookie for cookie in request.COOKIES.values())


def has_unreadable_field(request: HttpRequest) -> bool:
    """Return whether a form that was sent holds, in a name or a value, what `is_unreadable()` looks for."""
    if request.method != "POST":
        return False
    try:
        body = request.body
    except (RawPostDataException, RequestDataTooBig):
        body = b""  # Read by somebody else, or full of files: what was made of it is all there is to look at.
    except UnreadablePostError:
        return False  # Whoever sent it is gone.
    if request.content_type == "application/x-www-form-urlencoded":
        return _is_no_text(unquote_to_bytes(body))
    if request.content_type != "multipart/form-data":
        return False
    text = "".join(chain.from_iterable((name, *values) for name, values in request.POST.lists()))
    if "\ufffd" in text and body:
        # Either that is what was sent, or it stands for bytes that are no text: read as Latin-1 they are all there.
        raw, _files = MultiPartParser(request.META, BytesIO(body), [], "iso-8859-1").parse()
        text = "".join(chain.from_iterable((name, *values) for name, values in raw.lists()))
        return _is_no_text(text.encode("iso-8859-1"))
    return "\0" in text


def refusal() -> HttpResponseBase:
    """Return what is said to a request that is no text."""
    text = _("This request holds a NUL character, or bytes that are not UTF-8, and was not carried out.")
    return dressed(HttpResponse(text, status=400, content_type="text/plain; charset=utf-8"))


def is_too_long(request: HttpRequest) -> bool:
    """Return whether the query is longer than any address of this site. The links of a page would repeat it."""
    return len(request.META.get("QUERY_STRING", "")) > LONGEST_QUERY


def too_long() -> HttpResponseBase:
    """Return what is said to a query without an end."""
    text = _("This address is too long: what follows the “?” may have %(number)s bytes.") % {"number": LONGEST_QUERY}
    return dressed(HttpResponse(text, status=414, content_type="text/plain; charset=utf-8"))


def _address(request: HttpRequest) -> Iterator[bytes]:
    """Yield the path and the query as bytes, with nothing left encoded."""
    if (scope := getattr(request, "scope", None)) is not None:
        # A server that keeps no raw path has replaced what was wrong with it.
        raw, path, query = scope.get("raw_path"), scope["path"], scope.get("query_string", b"")
    else:
        meta = request.META
        raw, path = meta.get("RAW_URI") or meta.get("REQUEST_URI"), meta.get("PATH_INFO", "")
        query = meta.get("QUERY_STRING", "").encode("iso-8859-1")
        raw = raw and raw.encode("iso-8859-1")
    yield unquote_to_bytes(query)
    if raw:
        yield unquote_to_bytes(raw)
    else:
        # Django has decoded it, and encoded anew what was no UTF-8.
        yield unquote_to_bytes(path) if _ENCODED_ANEW.search(path) else path.encode(errors="surrogatepass")


def _is_no_text(content: bytes) -> bool:
    try:
        return "\0" in content.decode()
    except UnicodeDecodeError:
        return True
