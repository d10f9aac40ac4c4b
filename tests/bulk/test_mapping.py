"""Mapping: cells become the fields that the settings say, and a bad setting is told in one line."""

import math
import pickle
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routera_async.bulk.mapping import Mapping
from routera_async.errors import ConfigurationError, ValidationError

KNOWN = ("ticket_name", "pipeline", "ticket_stage", "ticket_owner", "external_id")
COLUMNS = ("title", "key", "points", "a", "a:b", "a:b:number", "x=y", "with space")


def build(columns=COLUMNS, **settings) -> Mapping:
    """Build a mapping of tickets."""
    return Mapping.build(columns, known_fields=KNOWN, **settings)


def mapped(cell, setting: str, **settings):
    """Return what one column's cell becomes under `f=c<setting>`, or None when it is left out."""
    return build(["c"], maps=[f"f=c{setting}"], **settings).fields({"c": cell}).get("f")


# --- columns --------------------------------------------------------------------------------------


def test_columns_named_like_fields_map_themselves():
    """A known field's column needs no setting; another column is not imported."""
    mapping = build(["ticket_name", "external_id", "priority", "id"])
    cells = {"ticket_name": "T", "external_id": "e", "priority": "high", "id": "9"}
    assert mapping.fields(cells) == {"ticket_name": "T", "external_id": "e"}
    assert mapping.unused(cells) == ("priority", "id")


@pytest.mark.parametrize(
    "settings",
    [
        {"maps": ["ticket_name=title"]},
        {"sets": ["ticket_name=T"]},
        {"templates": ["ticket_name={title}"]},
    ],
)
def test_a_setting_comes_before_the_column_of_that_name(settings):
    """A field that is set takes nothing from the column named like it."""
    mapping = build(["ticket_name", "title"], **settings)
    assert mapping.fields({"ticket_name": "no", "title": "T"}) == {"ticket_name": "T"}
    assert "ticket_name" in mapping.unused(["ticket_name"])


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        ("a", "1"),
        ("a:b", "2"),
        ("a:b:number", "3"),
        ("a:number", 1),
        ("a:b:text", "2"),
        ("a:b:number:number", 3),
        ("x=y", "4"),
        ("with space:number", 5),
    ],
)
def test_the_longest_text_that_is_a_column_is_the_column(column, expected):
    """A column may hold colons and equals signs."""
    cells = {"a": "1", "a:b": "2", "a:b:number": "3", "x=y": "4", "with space": "5"}
    fields = build(maps=[f"f={column}"]).fields(cells)
    assert fields == {"f": expected}
    assert type(fields["f"]) is type(expected)


def test_one_column_serves_many_fields():
    """Nothing keeps two fields from taking the same column, and both uses count once."""
    mapping = build(maps=["f=points:number", "g=points"], templates=["h={points}!"], sets=["i=x=y"])
    assert mapping.fields({"points": "5"}) == {"f": 5, "g": "5", "h": "5!", "i": "x=y"}
    assert mapping.unused(("points", "key")) == ("key",)


# --- cells ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", ["", " ", "\t\r\n", "\u00a0\u2003", None, "?", "N/A"])
@pytest.mark.parametrize("kind", ["", ":text", ":number", ":checkbox", ":date", ":datetime"])
def test_an_empty_cell_is_left_out(cell, kind):
    """Blanks, null and the texts that mean missing are empty, whatever the type."""
    fields = build(["c"], maps=[f"f=c{kind}"], missing=["?", "N/A"]).fields({"c": cell})
    assert fields == {}
    assert build(["c"], maps=[f"f=c{kind}"]).fields({}) == {}


def test_missing_is_the_whole_cell():
    """A text that means missing is left alone inside another, and when nobody named it."""
    assert mapped("really?", "", missing=["?"]) == "really?"
    assert mapped(" ?", "", missing=["?"]) == " ?"
    assert mapped("?", "") == "?"


@pytest.mark.parametrize("value", [False, 0, 0.0, [], {}, ["a"], {"b": None}, 1.5, "x"])
def test_json_values_pass_unchanged_without_a_type(value):
    """A value that is false or zero is no empty cell."""
    assert build(["c"], maps=["f=c"]).fields({"c": value}) == {"f": value}


GOOD_CELLS = [
    ("text", " kept \n", " kept \n"),
    ("text", 12, "12"),
    ("text", 1.5, "1.5"),
    ("text", True, "true"),
    ("number", "42", 42),
    ("number", " -7 ", -7),
    ("number", "+007", 7),
    ("number", "1.0", 1.0),
    ("number", ".5", 0.5),
    ("number", "5.", 5.0),
    ("number", "-1.5e3", -1500.0),
    ("number", "123456789012345678901234567890", 123456789012345678901234567890),
    ("number", 2.5, 2.5),
    ("number", 3, 3),
    ("checkbox", "TRUE", True),
    ("checkbox", " Yes ", True),
    ("checkbox", "y", True),
    ("checkbox", "t", True),
    ("checkbox", "on", True),
    ("checkbox", "1", True),
    ("checkbox", 1, True),
    ("checkbox", "False", False),
    ("checkbox", "no", False),
    ("checkbox", "N", False),
    ("checkbox", "f", False),
    ("checkbox", "Off", False),
    ("checkbox", "0", False),
    ("checkbox", 0, False),
    ("checkbox", False, False),
    ("date", "2026-11-23", "2026-11-23"),
    ("date", " 20261123 ", "2026-11-23"),
    ("date:%d/%m/%Y", "3/1/2016", "2016-01-03"),
    ("date:%d/%m/%Y %H:%M", "29/2/2016 01:16", "2016-02-29"),
    ("datetime", "2026-11-23T09:30:00Z", "2026-11-23T09:30:00Z"),
    ("datetime", "2026-11-23 09:30", "2026-11-23T09:30:00Z"),
    ("datetime", "2026-11-23", "2026-11-23T00:00:00Z"),
    ("datetime", "2026-11-23T01:30:00.25+02:00", "2026-11-22T23:30:00.250000Z"),
    ("datetime:%d/%m/%Y %H:%M", "29/2/2016 01:16", "2016-02-29T01:16:00Z"),
    ("datetime:%Y-%m-%d %H:%M %z", "2016-01-01 00:30 +0100", "2015-12-31T23:30:00Z"),
]


@pytest.mark.parametrize(("kind", "cell", "expected"), GOOD_CELLS)
def test_a_cell_becomes_its_type(kind, cell, expected):
    """Each TYPE reads what exports write, and gives what the API takes."""
    value = mapped(cell, f":{kind}")
    assert value == expected
    assert type(value) is type(expected)


BAD_CELLS = [
    ("text", ["a"], "is not a text"),
    ("text", {"a": 1}, "is not a text"),
    ("number", "1,234", "is not a number"),
    ("number", "0x1F", "is not a number"),
    ("number", "1_000", "is not a number"),
    ("number", "inf", "is not a number"),
    ("number", "NaN", "is not a number"),
    ("number", "1e999", "is too large a number"),
    ("number", "9" * 5000, "is too long a number: 5,000 digits"),
    ("number", "٣", "is not a number"),
    ("number", "5 points", "is not a number"),
    ("number", "-", "is not a number"),
    ("number", ".", "is not a number"),
    ("number", True, "is not a number"),
    ("number", [1], "is not a number"),
    ("checkbox", "maybe", "is neither true nor false"),
    ("checkbox", 2, "is neither true nor false"),
    ("checkbox", 1.0, "is neither true nor false"),
    ("checkbox", [], "is neither true nor false"),
    ("date", "29/2/2016", "is not a date, such as 2026-11-23"),
    ("date", "2026-02-30", "is not a date"),
    ("date", "2026-11-23T09:30:00Z", "is not a date"),
    ("date", 20261123, "is not a date"),
    ("date:%d/%m/%Y", "2/29/2016", "is not a date, written as '%d/%m/%Y'"),
    ("datetime", "yesterday", "is not a date and time, such as 2026-11-23T09:30:00Z"),
    ("datetime", 1_700_000_000, "is not a date and time"),
    ("datetime", "0001-01-01T00:00:00+02:00", "is not a date and time"),
    ("datetime:%d/%m/%Y %H:%M", "29/2/2016", "written as '%d/%m/%Y %H:%M'"),
]


@pytest.mark.parametrize(("kind", "cell", "message"), BAD_CELLS)
def test_a_bad_cell_names_field_column_and_value(kind, cell, message):
    """A cell that is not of its type is an error of one short line."""
    with pytest.raises(ValidationError) as caught:
        mapped(cell, f":{kind}")
    told = str(caught.value)
    assert told.startswith("field 'f', column 'c': ")
    assert repr(cell)[:50] in told
    assert message in told
    assert len(told) < 200
    assert "\n" not in told


# --- templates ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("template", "cells", "expected"),
    [
        ("{a} {b}", {"a": "Cat", "b": "Sub"}, "Cat Sub"),
        ("{a} {b}", {"a": "Cat", "b": "?"}, "Cat"),
        ("{a} {b}", {"a": "", "b": "Sub"}, "Sub"),
        ("{a} {b}", {"a": " ", "b": None}, None),
        ("{a} {b}", {"a": " Cat ", "b": "Sub\n"}, " Cat  Sub\n"),
        ("[{a}]", {"a": "x"}, "[x]"),
        ("{{{a}}} {{}}", {"a": "x"}, "{x} {}"),
        ("{a}{a}", {"a": "x"}, "xx"),
        ("{a: b!}", {"a: b!": "x"}, "x"),
        ("{a}/{b}", {"a": 5, "b": True}, "5/true"),
        ("{a}", {"a": "{b}"}, "{b}"),
    ],
)
def test_templates(template, cells, expected):
    """Empty cells render as nothing; all empty leaves the field out; braces double."""
    mapping = build(cells, templates=[f"f={template}"], missing=["?"])
    assert mapping.fields(cells).get("f") == expected


def test_empty_braces_name_no_column():
    """They are refused even for JSON whose objects have an empty key."""
    with pytest.raises(ConfigurationError, match="no column ''"):
        build(["", "a"], templates=["f={}{a}"])


def test_a_template_takes_no_list():
    """A JSON array or object has no text, and the error names its column."""
    with pytest.raises(ValidationError, match=r"field 'f', column 'a': \[1\] is not a text"):
        build(["a"], templates=["f=<{a}>"]).fields({"a": [1]})


# --- values, other and empty ----------------------------------------------------------------------

STAGES = """
[map.ticket_stage]
column = "a"
values = {Open = "open", "In Progress" = "open", Solved = "closed"}
"""


@pytest.mark.parametrize(
    ("cell", "stage"),
    [("Open", "open"), (" in progress ", "open"), ("SOLVED", "closed"), ("", None), ("?", None)],
)
def test_values_translate_a_cell(toml, cell, stage):
    """A cell becomes what the table says, in any case and with blanks around it, or is empty."""
    mapping = build(["a"], file=toml(STAGES), missing=["?"])
    assert mapping.fields({"a": cell}).get("ticket_stage") == stage
    assert mapping.unused(["a"]) == ()


@pytest.mark.parametrize("cell", ["Closed", "Open!", 5, ["Open"]])
def test_a_cell_without_a_value_is_bad_unless_there_is_another(toml, cell):
    """What the table does not know is an error of that row, and never guessed."""
    with pytest.raises(ValidationError, match=r"field 'ticket_stage', column 'a': .* is no"):
        build(["a"], file=toml(STAGES)).fields({"a": cell})
    if not isinstance(cell, list):
        other = build(["a"], file=toml(STAGES + 'other = "new"\n'))
        assert other.fields({"a": cell}) == {"ticket_stage": "new"}


def test_values_have_the_types_that_they_are_written_with(toml):
    """A cell may become a number, a checkbox or a date, and JSON values are looked up as text."""
    values = "{1 = 10, 2 = 0.5, true = false, day = 2026-11-23}"
    mapping = build(["a"], file=toml(f'[map]\nf = {{column = "a", values = {values}}}\n'))
    cells = (1, "2", True, "day")
    assert [mapping.fields({"a": cell})["f"] for cell in cells] == [10, 0.5, False, "2026-11-23"]


@pytest.mark.parametrize(
    ("setting", "three"),
    [
        ('column = "a"', "3"),
        ('column = "a", type = "number"', 3),
        ('column = "a", values = {3 = "low"}', "low"),
    ],
)
def test_empty_fills_what_the_cell_leaves_out(toml, setting, three):
    """An empty cell becomes `empty`, and any other is what it would be without."""
    mapping = build(["a"], file=toml(f"[map]\nf = {{{setting}, empty = 0}}\n"), missing=["?"])
    told = [mapping.fields({"a": cell}) for cell in ("3", "", "?", None)]
    assert told == [{"f": three}, {"f": 0}, {"f": 0}, {"f": 0}]
    assert mapping.unused(["a"]) == ()


def test_a_table_of_values_is_one_text_in_any_order(toml):
    """A journal is bound to what cells become, and not to how that was written."""
    first, swapped, another = (
        build(["a"], file=toml(f'[map]\nf = {{column = "a", values = {values}}}\n')).as_text()
        for values in ("{x = 1, y = 2}", "{Y = 2, X = 1}", "{x = 1, y = true}")
    )
    assert first == swapped != another


# --- bad settings ---------------------------------------------------------------------------------

BAD_SETTINGS = {
    "unknown column": (
        {"maps": ["f=titel"]},
        "--map f=titel: no column 'titel' (did you mean 'title'?); the columns are: title, key,",
    ),
    "unknown column with a type": ({"maps": ["f=pts:number"]}, "no column 'pts'"),
    "unknown column with a format": ({"maps": ["f=when:date:%d:%m"]}, "no column 'when'"),
    "other case": ({"maps": ["f=TITLE"]}, "did you mean 'title'?"),
    "no column": ({"maps": ["f="]}, "no column ''"),
    "bad type": (
        {"maps": ["f=key:numbr"]},
        "'numbr' is no type: the types are text, number, checkbox, date, datetime",
    ),
    "no type": ({"maps": ["f=key:"]}, "'' is no type"),
    "format of a number": ({"maps": ["f=key:number:%d"]}, "only a date or a datetime takes"),
    "format with no directive": ({"maps": ["f=key:date:"]}, "it needs a year, a month and a day"),
    "format with no day": ({"maps": ["f=key:date:%m/%Y"]}, "it needs a year, a month and a day"),
    "format that is none": ({"maps": ["f=key:date:%Q"]}, "is not a date's format"),
    "format cut short": ({"maps": ["f=key:datetime:%d/%m/%"]}, "is not a date's format"),
    "no equals sign": ({"maps": ["title"]}, "--map title: has no '='; write FIELD=COLUMN"),
    "no value": ({"sets": ["f"]}, "--set f: has no '='; write FIELD=VALUE"),
    "an empty value": ({"sets": ["f= "]}, "gives no value"),
    "no field": ({"maps": ["=title"]}, "names no field"),
    "blank field": ({"sets": [" =x"]}, "names no field"),
    "twice": ({"maps": ["f=title", "f=key"]}, "--map f=key: 'f' is given twice"),
    "two ways": ({"maps": ["f=title"], "sets": ["f=x"]}, "--set f=x: 'f' is given twice"),
    "template of nothing": ({"templates": ["f=hello"]}, "names no {column}"),
    "template unknown": ({"templates": ["f={titel}"]}, "no column 'titel' (did you mean 'title'?)"),
    "template of {}": ({"templates": ["f={}"]}, "no column ''"),
    "template spec": ({"templates": ["f={title:>9}"]}, "braces hold a column's name and nothing"),
    "template attribute": ({"templates": ["f={title.__class__}"]}, "no column 'title.__class__'"),
    "template open": ({"templates": ["f={title"]}, "the brace at character 1 has no partner"),
    "template closed": ({"templates": ["f={title}}"]}, "the brace at character 8 has no partner"),
}


@pytest.mark.parametrize("name", BAD_SETTINGS)
def test_a_bad_setting_is_told_in_one_line(name):
    """The error names the setting as it was written and says what is wrong with it."""
    settings, message = BAD_SETTINGS[name]
    with pytest.raises(ConfigurationError) as caught:
        build(**settings)
    assert message in str(caught.value)
    assert str(caught.value).startswith("--")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("field", ["id", "created_at", "updated_at", "archived", "archived_by"])
@pytest.mark.parametrize("settings", ["maps", "sets", "templates"])
def test_a_system_field_cannot_be_set(field, settings):
    """What the server sets is refused however it is given."""
    value = {"maps": "title", "sets": "x", "templates": "{title}"}[settings]
    with pytest.raises(ConfigurationError, match=f"'{field}' is set by the server"):
        build(**{settings: [f"{field}={value}"]})


def test_a_long_list_of_columns_is_cut():
    """The error stays readable when a file has hundreds of columns."""
    with pytest.raises(ConfigurationError, match=r"c0, .*, c59 and 140 more$"):
        build([f"c{n}" for n in range(200)], maps=["f=none"])


# --- the mapping file -----------------------------------------------------------------------------


@pytest.fixture
def toml(tmp_path):
    """Return a function that writes a mapping file."""

    def write(content: str | bytes) -> Path:
        path = tmp_path / "map.toml"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


WHOLE = """
missing = ["?"]

[map]
ticket_name = "title"
points = "points:number"
opened = {column = "a:b", type = "datetime", format = "%d/%m/%Y %H:%M"}
"custom field" = {column = "key"}

[set]
pipeline = "default"
weight = 5
ratio = 0.5
urgent = true
day = 2026-11-23
at = 2026-11-23T10:30:00+01:00

[template]
label = "{key} {points}"
"""


def test_a_mapping_file_says_what_options_say(toml):
    """Every kind of setting has its table, and constants keep their TOML types."""
    cells = {"title": "T", "key": "K", "points": "3", "a:b": "1/2/2020 10:00"}
    assert build(file=toml(WHOLE)).fields(cells) == {
        "ticket_name": "T",
        "points": 3,
        "opened": "2020-02-01T10:00:00Z",
        "custom field": "K",
        "pipeline": "default",
        "weight": 5,
        "ratio": 0.5,
        "urgent": True,
        "day": "2026-11-23",
        "at": "2026-11-23T09:30:00Z",
        "label": "K 3",
    }


def test_options_replace_the_file_field_by_field(toml):
    """An option of any kind replaces the file's setting of its field, even one that is wrong."""
    file = toml('[map]\nf = "none"\ng = "key"\n[set]\nh = "x"\n')
    mapping = build(sets=["f=1"], maps=["h=title"], file=file)
    assert mapping.fields({"title": "T", "key": "K"}) == {"f": "1", "g": "K", "h": "T"}


def test_the_file_and_the_options_name_what_is_missing_together(toml):
    """Both lists of texts mean empty."""
    mapping = build(maps=["f=a", "g=key"], missing=["-"], file=toml('missing = ["?"]'))
    assert mapping.fields({"a": "-", "key": "?"}) == {}


def test_a_byte_order_mark_in_a_mapping_file_is_accepted(toml):
    """Windows editors write one."""
    assert build(file=toml(b"\xef\xbb\xbf[set]\nf = 1\n")).fields({}) == {"f": 1}


BAD_FILES = {
    "not TOML": ("[map\n", "is not TOML: "),
    "not UTF-8": (b'[set]\nf = "\xe9"\n', "not UTF-8 at byte 12"),
    "an unknown table": ("[maps]\n", "has no setting 'maps'; there are map, set, template"),
    "an unknown key": ("mising = []\n", "has no setting 'mising'"),
    "no table": ('map = "x"\n', "map must be a table"),
    "missing is a text": ('missing = "?"\n', "missing must be a list of texts"),
    "missing holds a number": ("missing = [1]\n", "missing must be a list of texts"),
    "unknown column": ('[map]\nf = "titel"\n', "[map] f: no column 'titel' (did you mean"),
    "unknown column in a table": ('[map]\nf = {column = "titel"}\n', "no column 'titel'"),
    "a column that is a number": ("[map]\nf = 5\n", "[map] f: must be a text in quotes"),
    "column is a number": ("[map]\nf = {column = 5}\n", "f.column: must be a text in quotes"),
    "no column": ('[map]\nf = {type = "number"}\n', "[map] f: needs a column"),
    "unknown option": ('[map]\nf = {column = "a", typ = "x"}\n', "has no setting 'typ'"),
    "bad type": ('[map]\nf = {column = "a", type = "x"}\n', "'x' is no type"),
    "format alone": ('[map]\nf = {column = "a", format = "%Y"}\n', "a format needs a type"),
    "values are a text": ('[map]\nf = {column = "a", values = "x"}\n', "values must be a table"),
    "no values": ('[map]\nf = {column = "a", values = {}}\n', "values must be a table"),
    "other alone": ('[map]\nf = {column = "a", other = "x"}\n', "values must be a table"),
    "a list of values": ('[map]\nf = {column = "a", values = {x = [1]}}\n', "f.values: 'x': must"),
    "a value twice": (
        '[map]\nf = {column = "a", values = {x = 1, X = 2}}\n',
        "f.values: 'X' is given twice",
    ),
    "values of a type": (
        '[map]\nf = {column = "a", type = "number", values = {x = 1}}\n',
        "values have the types that they are written with",
    ),
    "an empty other": (
        '[map]\nf = {column = "a", values = {x = 1}, other = ""}\n',
        "f.other: gives",
    ),
    "an empty empty": ('[map]\nf = {column = "a", empty = " "}\n', "[map] f.empty: gives no value"),
    "a list": ("[set]\nf = [1]\n", "[set] f: must be a text, a number, true, false or a date"),
    "a time": ("[set]\nf = 10:30:00\n", "must be a text, a number"),
    "not a number": ("[set]\nf = nan\n", "must be a text, a number"),
    "an empty constant": ('[set]\nf = ""\n', "gives no value"),
    "a template that is a number": ("[template]\nf = 5\n", "must be a text in quotes"),
    "a bad template": ('[template]\nf = "{a"\n', "the brace at character 1 has no partner"),
    "two tables": ('[map]\nf = "a"\n[set]\nf = 1\n', "[set] f: 'f' is given twice"),
    "a system field": ("[set]\nid = 1\n", "'id' is set by the server"),
    "no field": ('[set]\n"" = 1\n', "names no field"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_mapping_file_is_told_in_one_line(toml, name):
    """The error names the file and where in it."""
    content, message = BAD_FILES[name]
    path = toml(content)
    with pytest.raises(ConfigurationError) as caught:
        build(file=path)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_mapping_file_that_is_not_there(tmp_path):
    """A missing file and a folder are told as what they are."""
    with pytest.raises(ConfigurationError, match=r"no\.toml: cannot be read: No such file"):
        build(file=tmp_path / "no.toml")
    with pytest.raises(ConfigurationError, match="cannot be read: Is a directory"):
        build(file=tmp_path)


# --- properties -----------------------------------------------------------------------------------


def test_a_mapping_is_a_value():
    """Two mappings of the same settings are equal, and one pickles."""
    settings = {"maps": ["f=a:datetime:%d/%m/%Y"], "sets": ["g=1"], "templates": ["h={a}"]}
    mapping = build(**settings)
    assert mapping == build(**settings)
    assert mapping != build(maps=["f=a"])
    assert pickle.loads(pickle.dumps(mapping)).fields({"a": "1/2/2020"}) == mapping.fields(
        {"a": "1/2/2020"}
    )


@given(st.text())
def test_text_is_kept_byte_for_byte(cell):
    """A text is left out when it is blank and is otherwise untouched."""
    expected = None if not cell.strip() else cell
    assert mapped(cell, "") == mapped(cell, ":text") == expected


@given(st.integers())
def test_whole_numbers_are_exact(value):
    """An integer of any size comes back as the same int."""
    assert mapped(str(value), ":number") == value


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_fractions_are_exact(value):
    """A float written as Python writes it comes back as the same float."""
    assert mapped(repr(value), ":number") == value


@given(st.text())
def test_no_text_is_a_number_that_json_cannot_hold(cell):
    """Whatever the text, it is a finite number or a ValidationError."""
    try:
        value = mapped(cell, ":number")
    except ValidationError:
        return
    assert value is None or math.isfinite(value)


@given(st.datetimes(), st.integers(-1439, 1439))
def test_moments_are_kept_in_utc(moment, minutes):
    """A moment in any zone comes back as the same moment, and a naive one as UTC."""
    aware = moment.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    for written, same in ((moment, moment.replace(tzinfo=UTC)), (aware, aware)):
        try:
            text = mapped(written.isoformat(), ":datetime")
        except ValidationError:  # it falls outside the years 1 to 9999 in UTC
            assert same.year in {1, 9999}
            continue
        assert text.endswith("Z")
        assert datetime.fromisoformat(text) == same


@given(st.lists(st.text(min_size=1), min_size=1, unique=True), st.data())
def test_any_column_can_be_mapped(columns, data):
    """Whatever its name, a column can be named, with and without a type."""
    column = data.draw(st.sampled_from(columns))
    mapping = build(columns, maps=[f"f={column}", f"g={column}:text"])
    assert [setting.column for setting in mapping.settings if setting.field == "f"] == [column]
    assert mapping.fields({column: "x"})["f"] == "x"
