"""JSON in and out: nothing is lost, and what cannot be kept is refused."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routera_async.sandbox.wire import MAX_DEPTH, decode, encode

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**40), 10**40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(values)
def test_what_is_encoded_decodes_to_itself(value):
    """Any JSON value survives the way out and in, its types and the order of its keys too."""
    assert json.dumps(decode(encode(value))) == json.dumps(value)


@given(values)
def test_what_another_encoder_wrote_is_read(value):
    """The stdlib's escapes and spaces are read as the same value."""
    assert json.dumps(decode(json.dumps(value, indent=1).encode())) == json.dumps(value)


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
@pytest.mark.parametrize("levels", [MAX_DEPTH, MAX_DEPTH + 1])
def test_the_depth_is_bounded_exactly(opening, levels):
    """MAX_DEPTH levels are read and one more is refused, in lists and in objects."""
    closing = b"]" if opening == b"[" else b"}"
    body = opening * (levels - 1) + (b"[]" if opening == b"[" else b"{}") + closing * (levels - 1)
    if levels > MAX_DEPTH:
        with pytest.raises(ValueError, match="nested more than 100 levels deep"):
            decode(body)
    else:
        assert encode(decode(body)) == body


def test_many_brackets_side_by_side_are_not_depth():
    """A wide body is not a deep one."""
    body = b"[" + b",".join([b"[]"] * 500) + b"]"
    assert encode(decode(body)) == body


@pytest.mark.parametrize(
    "body",
    [b"", b"NaN", b"[Infinity]", b"1e999", b'"\\ud800"', b'"\xff"', b"\xef\xbb\xbf{}", b"9" * 400],
)
def test_what_cannot_be_kept_is_refused(body):
    """What is not JSON, or no value that could come back as it went in, raises ValueError."""
    with pytest.raises(ValueError):  # noqa: PT011  the message is orjson's
        decode(body)
