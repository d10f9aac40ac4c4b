"""The error tree: what each answer means, and what an error may hold."""

import copy
import pickle
import re
from datetime import UTC, datetime

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routera_async import errors
from routera_async.errors import Attempt, from_response, one_line

NOON = datetime(2025, 6, 12, 12, 0, 0, tzinfo=UTC)
ATTEMPT = Attempt(
    number=1, started=0.0, elapsed=0.5, sent=True, status=500, error=None, outcome="unknown"
)
STATUSES = {
    400: (errors.BadRequestError, "rejected"),
    401: (errors.UnauthorizedError, "rejected"),
    403: (errors.ForbiddenError, "rejected"),
    404: (errors.NotFoundError, "rejected"),
    405: (errors.APIStatusError, "rejected"),
    408: (errors.APIStatusError, "unknown"),
    409: (errors.DuplicateError, "duplicate"),
    413: (errors.APIStatusError, "rejected"),
    422: (errors.APIStatusError, "rejected"),
    429: (errors.RateLimitedError, "not_sent"),
    500: (errors.ServerError, "unknown"),
    501: (errors.ServerError, "unknown"),
    502: (errors.ServerError, "unknown"),
    503: (errors.ServerError, "unknown"),
    504: (errors.ServerError, "unknown"),
    599: (errors.ServerError, "unknown"),
}


def answer(status=400, headers=(), body=b""):
    """Return the error that an answer means, at NOON."""
    return from_response(status, dict(headers), body, now=lambda: NOON)


def classes():
    """Return every error class of the module, by name."""
    found = {name: kind for name, kind in vars(errors).items() if isinstance(kind, type)}
    return {name: kind for name, kind in found.items() if issubclass(kind, errors.RouteraError)}


def sample(kind):
    """Return an error of a class with every attribute set to something of its own."""
    if issubclass(kind, errors.APIStatusError):
        error = kind("no", status=418, headers={"date": "now"}, body=b"{}", retry_after=2.5)
    else:
        error = kind("no")
    if kind is errors.DuplicateError:
        error.ours = True
    if kind is errors.ResponseError:
        error.status, error.body, error.id = 201, b"<html>", "550e8400"
    error.outcome, error.attempts, error.elapsed = "unknown", (ATTEMPT,), 1.5
    return error


def drawn():
    """Return each class that the module's docstring draws, with its parent in the drawing."""
    above, tree = [], {}
    for line in errors.__doc__.splitlines():
        if not (row := re.match(r"( {4}(?:│ {3}| {4})*(?:[├└]── )?)([A-Z]\w+.*)", line)):
            continue
        depth = len(row[1]) // 4 - 1
        names = re.findall(r"(?:^|· )([A-Z]\w+)", row[2])
        tree |= dict.fromkeys(names, above[depth - 1] if depth else "Exception")
        above[depth:] = [names[-1]]
    return tree


def test_the_tree_is_drawn_as_it_is():
    """The drawing at the top of errors.py shows every class, each below its own parent."""
    assert drawn() == {name: kind.__base__.__name__ for name, kind in classes().items()}


def test_the_statuses_are_drawn_as_they_are():
    """The statuses in the drawing are those that from_response knows."""
    for name, status in re.findall(r"(\w+Error) (\d{3})", errors.__doc__):
        assert type(answer(int(status))).__name__ == name


@pytest.mark.parametrize("status", STATUSES)
def test_a_status_has_one_meaning(status):
    """Each status is one class of error and proves one outcome."""
    error = answer(status, {"X-Served-By": "edge"}, b'{"message": "No such luck", "error": true}')
    assert (type(error), error.outcome) == STATUSES[status]
    assert (error.status, error.message) == (status, "No such luck")
    assert str(error) == f"{status}: No such luck"
    assert error.headers == {"x-served-by": "edge"}
    assert error.body == b'{"message": "No such luck", "error": true}'


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 307, 308])
def test_a_redirect_is_a_wrong_setting(status):
    """A 3xx says where it leads and to look at base_url; what moved was not done."""
    error = answer(status, {"location": "https://elsewhere.example/\r\n"})
    assert type(error) is errors.ConfigurationError
    moved = status in {301, 302, 307, 308}  # another may follow work that was done
    assert error.outcome == ("rejected" if moved else "unknown")
    assert "https://elsewhere.example/;" in str(error)
    assert "base_url" in str(error)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>Bad gateway</html>",
        b"\xff\xfe",
        b"[]",
        b"[" * 100_000,
        b'{"message": null}',
        b'{"message": {"text": "no"}}',
        b'{"message": " \\n "}',
        b'{"message": "cut of',
    ],
)
def test_an_answer_without_a_message_is_described(body):
    """A body that holds no message is told by its size and kind, whatever else it is."""
    error = answer(502, {"content-type": "text/html"}, body)
    assert error.message == f"HTTP 502 without a message ({len(body)} bytes, text/html)"


def test_a_message_is_one_short_line():
    """What the server says cannot break a terminal's line, nor fill it."""
    hostile = b'{"message": "a\\u001b[2J\\r\\nb\\u2028c\\u0085' + b"x" * 1000 + b'"}'
    error = answer(400, body=hostile)
    assert error.message.startswith("a [2J b c x")
    assert error.message.endswith("x…")
    assert len(error.message) == 500


def test_a_body_is_kept_up_to_64_kib():
    """An error holds the beginning of a large body, not all of it."""
    assert answer(500, body=b"a" * 65_536 + b"b").body == b"a" * 65_536


@given(st.text())
def test_one_line_is_one_line(text):
    """No text is more than one line of 80 characters afterwards."""
    shown = one_line(text, 80)
    assert len(shown) <= 80
    assert len(shown.splitlines()) <= 1


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "3"}, 3.0),
        ({"retry-after": " 120 "}, 120.0),
        ({"RETRY-AFTER": "0"}, 0.0),
        ({"Retry-After": "Thu, 12 Jun 2025 12:00:30 GMT"}, 30.0),
        ({"retry-after": "Thu, 12 Jun 2025 11:00:00 GMT"}, 0.0),
        (
            {
                "retry-after": "Thu, 12 Jun 2025 14:30:00 GMT",
                "date": "Thu, 12 Jun 2025 14:29:00 GMT",
            },
            60.0,
        ),
        ({"retry-after": "Thu, 12 Jun 2025 12:00:30 GMT", "date": "yesterday"}, 30.0),
        ({"Retry-After": "9" * 5000}, 999_999_999.0),
        ({}, None),
        ({"Retry-After": ""}, None),
        ({"Retry-After": "-1"}, None),
        ({"Retry-After": "1.5"}, 1.5),
        ({"Retry-After": "٣"}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "Thu, 12 Jun 2025 12:00:30"}, None),
        ({"Retry-After": "Fri, 31 Dec 99999999999999999999 23:59:59 GMT"}, None),
        ({"Retry-After": "Fri, 31 Dec 2026 23:59:59 +99999999999999999999"}, None),
    ],
)
def test_retry_after_is_read(headers, seconds):
    """Retry-After is seconds or a date by the server's clock, in any case; else it is none."""
    assert answer(429, headers).retry_after == seconds


@given(
    status=st.integers(300, 999),
    headers=st.dictionaries(
        st.sampled_from(["Retry-After", "date", "Location", "content-type"]), st.text()
    ),
    body=st.binary(),
)
def test_any_answer_has_a_meaning(status, headers, body):
    """No header and no body of a failed answer raises anything, and every wait is a number."""
    error = answer(status, headers, body)
    assert error.outcome in {"rejected", "duplicate", "not_sent", "unknown"}
    assert len(str(error).splitlines()) == 1
    wait = getattr(error, "retry_after", None)
    assert wait is None or 0.0 <= wait < float("inf")


@pytest.mark.parametrize("kind", classes().values())
@pytest.mark.parametrize(
    "clone", [copy.copy, copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))]
)
def test_errors_pickle(kind, clone):
    """An error goes to another process whole, with every attribute."""
    error = sample(kind)
    twin = clone(error)
    assert type(twin) is kind
    assert (twin.args, str(twin), twin.__dict__) == (error.args, str(error), error.__dict__)


@pytest.mark.parametrize("kind", classes().values())
def test_a_class_says_what_it_proves(kind):
    """Before anyone tells more, an error has no attempts and the outcome of its class."""
    assert (kind.attempts, kind.elapsed) == ((), 0.0)
    proven = {
        "OutcomeUnknown": "unknown",
        "ResponseError": "created",
        "DuplicateError": "duplicate",
    }
    proven |= {"ServerError": "unknown", "RateLimitedError": "not_sent"}
    usual = "rejected" if issubclass(kind, errors.APIStatusError) else "not_sent"
    assert kind.outcome == proven.get(kind.__name__, usual)


def test_an_attempt_is_a_value():
    """An attempt cannot be changed once it was met."""
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        ATTEMPT.number = 2
