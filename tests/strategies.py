"""What a record may hold: any JSON value, under any name that the sandbox takes."""

from urllib.parse import quote

import attrs
from hypothesis import strategies as st

from routera_async import (
    Company,
    Contact,
    Deal,
    NewCompany,
    NewContact,
    NewDeal,
    NewTicket,
    Ticket,
)
from routera_async.models import SYSTEM_FIELDS

LONGEST_QUERY = 6_000
"""Bytes of names in a URL: aiohttp's server takes 8,190 in a line."""

DECLARED = {
    name for kind in (Ticket, Contact, Company, Deal) for name in attrs.fields_dict(kind)
} - {"custom"}
"""Names that are attributes of one of the models."""

ODD_NAMES = (
    "custom",
    "keys",
    "items",
    "get",
    "self",
    "cls",
    "kind",
    "flat",
    "fields",
    "data",
    "properties",
    "__class__",
    "__attrs_attrs__",
    "__dict__",
    "__init__",
    "_custom",
    "class",
    "None",
    "$",
    "$.id",
    "a.b",
    "a[0]",
    "a b",
    "a+b",
    "a&b=c",
    "a%2Cb",
    "%",
    "#",
    "?",
    "/",
    "..",
    "ID",
    "Id",
    "\u0131d",
    "Ticket_name",
    "0",
    "\u202eevil",
    "e\u0301",
    "é",
    "🦄",
    "a\x00b",
    "a\nb",
    "a\u2028b",
)
"""Names that collide with something, or look as if they did."""

texts = st.text(st.characters(codec="utf-8"), max_size=20) | st.sampled_from(
    ("", " ", "\x00", "\x1f\x7f\x85", "\u2028\u2029", "\u202eabc\u202c", "e\u0301", "🦄", "\ufeff")
)
numbers = st.sampled_from(
    [0, -0.0, 5e-324, 1e308, -1e308, 0.1, 1e22, 2**53 + 1, 2**63, 2**64, 2**70, -(2**70), 10**300]
)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | numbers
    | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
"""Any JSON value."""

_names = st.sampled_from(ODD_NAMES) | st.text(
    st.characters(codec="utf-8", exclude_characters=","), min_size=1, max_size=10
).map(str.strip)
names = _names.filter(lambda name: name and name not in DECLARED | SYSTEM_FIELDS)
"""Names of custom fields; a comma ends a name in `properties`, and blanks around it go."""

customs = st.dictionaries(names, values, max_size=8).filter(
    lambda custom: sum(len(quote(name)) + 3 for name in custom) < LONGEST_QUERY
)
"""Custom fields whose names all fit into one URL."""

filled = texts.filter(str.strip)
_parts = st.text("aé🦄+.", min_size=1, max_size=5)
emails = st.builds("{}@{}".format, _parts, _parts)


def _unset(strategy):
    return st.none() | strategy


new_tickets = st.builds(
    NewTicket,
    ticket_name=filled,
    pipeline=filled,
    ticket_stage=filled,
    ticket_owner=_unset(emails),
    custom=customs,
)
new_deals = st.builds(
    NewDeal,
    deal_name=filled,
    pipeline=filled,
    deal_stage=filled,
    deal_owner=_unset(emails),
    custom=customs,
)
new_contacts = st.builds(
    NewContact,
    first_name=filled,
    last_name=_unset(texts),
    email=_unset(emails),
    contact_owner=_unset(emails),
    custom=customs,
)
new_companies = st.builds(
    NewCompany,
    company_name=filled,
    website_url=_unset(filled),
    description=_unset(texts),
    industry=_unset(texts),
    company_owner=_unset(emails),
    custom=customs,
)
