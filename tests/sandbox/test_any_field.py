"""Under any_field: whatever is written under another name is kept and comes back as it was."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routera_async.sandbox.app import Api
from routera_async.sandbox.calls import Call
from routera_async.sandbox.fields import TICKETS
from routera_async.sandbox.store import Store
from routera_async.sandbox.tokens import Credentials, Tokens

from .conftest import written


def open_api():
    """Return a store, and a sender of calls with a valid token to an Api that serves one type."""
    tokens = Tokens("s" * 32, ttl=60, clock=lambda: 0.0)
    bearer = "Bearer " + tokens.mint(account_id="a", client_id="c", ttl=60)
    store = Store()
    api = Api(
        store=store,
        tokens=tokens,
        credentials=Credentials("id", "secret"),
        object_types=[TICKETS.with_custom([], any_field=True)],
        clock=lambda: 0.0,
    )

    def send(method, path, body=b"", query=""):
        answer = api.answer(Call(method, path, query, bearer, body))
        return answer.status, answer.body

    return store, send


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.datetimes().map(str),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(name=st.text(min_size=1).filter(str.strip), value=json_values)
def test_any_json_value_comes_back_equal(name, value):
    """With any_field, what is written under any name is what the answer, GET and store hold."""
    store, send = open_api()
    name = f"x{name}"
    status, body = send("POST", "/tickets", written(**{name: value}))
    created = orjson.loads(body)
    assert (status, orjson.dumps(created[name])) == (201, orjson.dumps(value))
    assert orjson.dumps(store.get(created["id"])) == body
    store.close()


@pytest.mark.parametrize("number", ["123456789012345678901234567890", "-9223372036854775809"])
def test_an_integer_of_any_size_keeps_its_digits(number):
    """An integer of more than 64 bits comes back digit for digit from every route."""
    store, send = open_api()
    body = written(n=0, e="😀 \x01").replace(b'"n":0', b'"n":' + number.encode())
    _, created = send("POST", "/tickets", body)
    _, listed = send("GET", "/tickets", query="properties=n,e")
    for answer in (created, listed):
        assert b'"n":' + number.encode() in answer
        assert '"e":"😀 \\u0001"'.encode() in answer
    store.close()


async def test_under_any_field_the_rules_of_the_known_fields_stay():
    """any_field opens other names only: not the system's, not a blank one, not the types."""
    store, send = open_api()
    for fields in ({"id": "x"}, {" ": 1}, {"ticket_owner": "jane"}, {"ticket_name": None}):
        assert send("POST", "/tickets", written(**fields))[0] == 400
    assert send("GET", "/tickets", query="properties=whatever")[0] == 200
    assert send("GET", "/tickets", query="properties=a,,b")[0] == 400
    store.close()
