"""Where a request goes, and that nothing leads elsewhere."""

import string
import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from routera_async import ConfigurationError, RouteraClient, ValidationError
from routera_async._urls import _segment, checked_base_url, checked_proxy


@pytest.mark.parametrize(
    ("text", "base"),
    [
        ("https://api.routera.io", "https://api.routera.io"),
        ("https://api.routera.io/", "https://api.routera.io"),
        ("HTTPS://API.routera.io", "https://api.routera.io"),
        ("https://gateway.example:8443/routera/v1/", "https://gateway.example:8443/routera/v1"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://127.8.9.1", "http://127.8.9.1"),
        ("http://[::1]:8080/", "http://[::1]:8080"),
        ("http://localhost", "http://localhost"),
    ],
)
def test_a_base_url(text, base):
    """A base URL is https, or http to this machine, and keeps its path."""
    assert checked_base_url(text) == base


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "must begin with https://"),
        ("api.routera.io", "must begin with https://"),
        ("//api.routera.io", "must begin with https://"),
        ("ftp://api.routera.io", "must begin with https://"),
        ("https://", "must begin with https://"),
        ("https:///tickets", "must begin with https://"),
        ("http://far.example", "would show the token"),
        ("http://10.0.0.1", "would show the token"),
        ("http://0.0.0.0", "would show the token"),
        ("http://localhost.far.example", "would show the token"),
        ("http://127.0.0.1.far.example", "would show the token"),
        ("http://2130706433", "would show the token"),
        ("https://user:canary@api.routera.io", "no more"),
        ("https://:canary@api.routera.io", "no more"),
        ("ftp://user:canary@api.routera.io", "no more"),
        ("http://127.0.0.1@far.example", "no more"),
        ("https://api.routera.io?key=canary", "no more"),
        ("https://api.routera.io#canary", "no more"),
        ("https://api.routera.io:99999", "not a URL"),
        ("https://[::1", "not a URL"),
        ("https://api routera.io", "space"),
        ("https://api.routera.io\r\n", "space"),
        ("https://api.routera.io\0", "space"),
        (None, "must be text, not NoneType"),
        (5, "must be text, not int"),
        (b"https://api.routera.io", "must be text, not bytes"),
        (URL("https://api.routera.io"), "must be text, not URL"),
    ],
)
def test_a_base_url_that_is_none(text, problem):
    """Any other is refused when the client is made, on one line, without what may be secret."""
    with pytest.raises(ConfigurationError, match=problem) as caught:
        RouteraClient("eyJ", base_url=text)
    assert "canary" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "segment",
    [
        "",
        ".",
        "..",
        "a/b",
        "/",
        "a\\b",
        "%2e",
        "a%2Fb",
        "a b",
        "a?b",
        "a#b",
        "a\r\nb",
        "\0",
        "\ud800",
    ],
)
def test_no_id_leads_out_of_its_place(virtually, answers, segment):
    """An id that would not stay one segment of its path is refused, and nothing is sent."""

    async def main():
        async with RouteraClient("eyJ") as client:
            with pytest.raises(ValidationError, match="is no id"):
                await client.tickets.get(segment)

    virtually(main())
    assert not answers.requests


@given(st.text(min_size=1))
def test_any_id_is_one_segment_or_refused(text):
    """Whatever an id is made of, it is refused or becomes plain ASCII that no server splits."""
    try:
        segment = _segment(text)
    except ValidationError:
        return
    assert set(segment) <= set(string.ascii_letters + string.digits + "-_.~%")
    assert segment not in {".", ".."}
    assert "%2f" not in segment.lower()


async def test_an_id_is_sent_as_it_is(wires, flat, token):
    """Any other id is one segment below the base URL's own path."""
    wire = await wires.serve(wires.answer(200, flat))
    async with RouteraClient(token, base_url=f"{wire.url}/v1/") as client:
        await client.tickets.get("é;...", properties=["a b&c", "d"])
    line, *_ = wire.requests[0].splitlines()
    assert line == b"GET /v1/tickets/%C3%A9%3B...?properties=a+b%26c,d HTTP/1.1"


@pytest.mark.parametrize(
    ("text", "url", "basic"),
    [
        ("http://proxy.example:3128", "http://proxy.example:3128", None),
        ("https://10.0.0.1", "https://10.0.0.1", None),
        ("http://user:pass@proxy.example:3128/", "http://proxy.example:3128/", "dXNlcjpwYXNz"),
        ("http://user@proxy.example", "http://proxy.example", "dXNlcjo="),
        ("http://us%40er:p%3Aw@[::1]:3128", "http://[::1]:3128", "dXNAZXI6cDp3"),
    ],
)
def test_a_proxy(text, url, basic):
    """A proxy's user and password are taken out of its URL, unquoted, as HTTP Basic."""
    assert checked_proxy(text) == (url, basic and f"Basic {basic}")


@pytest.mark.parametrize(
    "given",
    [
        "",
        "canary",
        "ftp://user:canary@proxy.example",
        "http://",
        "http://user:canary@",
        "http://user:canary@proxy.example:99999",
        "http://user:canary @proxy.example",
        "http://user:canary@proxy.example\r\n",
        URL("http://user:canary@proxy.example"),
        b"http://user:canary@proxy.example",
        5,
    ],
)
def test_a_proxy_that_is_none(given):
    """Any other is refused when the client is made, and its password is not shown."""
    with pytest.raises(ConfigurationError, match=r"proxy must be http://") as caught:
        RouteraClient("eyJ", proxy=given)
    assert "canary" not in str(caught.value)
    if isinstance(given, str):
        trace = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
        ours = [at.locals for at in trace.stack if "/routera_async/" in at.filename]
        assert ours
        assert "canary" not in repr(ours)
