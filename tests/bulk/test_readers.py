"""Readers: what a file holds comes out unchanged, and what is wrong with it is said by line."""

import csv
import gzip
import io
import json
import os
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routera_async.bulk import csv_rows
from routera_async.bulk.readers import Row, Survey, open_source
from routera_async.errors import ConfigurationError

DATA = Path(__file__).parents[2].parent / "shared" / "data"

KIB = 1024


def rows_of(path: Path) -> list[Row]:
    """Return every row of a file."""
    return list(open_source(path).rows())


def written(folder: Path, content: bytes | str, name: str = "tickets.csv") -> Path:
    """Write a file and return its path."""
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.fixture
def write(tmp_path):
    """Return a function that writes a file and returns its path."""
    return lambda content, name="tickets.csv": written(tmp_path, content, name)


# --- rows that are good ---------------------------------------------------------------------------


def test_csv_rows_are_numbered_and_know_their_line(write):
    """A row has its ordinal from 0 and the physical line that it starts on, blanks counted."""
    path = write('a,b\n1,"two\nlines"\n\n3,4\n')
    assert rows_of(path) == [
        Row(0, 2, {"a": "1", "b": "two\nlines"}),
        Row(1, 5, {"a": "3", "b": "4"}),
    ]


def test_jsonl_rows_are_numbered_and_know_their_line(write):
    """Blank lines are no rows but are counted as lines."""
    path = write('\n{"a": 1}\n  \r\n{"b": [true, null]}', "t.jsonl")
    assert rows_of(path) == [Row(0, 2, {"a": 1}), Row(1, 4, {"b": [True, None]})]


@pytest.mark.parametrize("name", ["t.csv", "t.CSV", "t.csv.gz", "T.Csv.GZ"])
def test_csv_is_known_by_its_name(write, name):
    """The suffix decides the format, and .gz the compression, in any case."""
    content = b"a\n1\n"
    source = open_source(
        write(gzip.compress(content) if name.lower().endswith("gz") else content, name)
    )
    assert (source.format, source.columns) == ("csv", ("a",))
    assert [row.values for row in source.rows()] == [{"a": "1"}]


@pytest.mark.parametrize("name", ["t.jsonl", "t.ndjson", "t.jsonl.gz", "t.ndjson.gz"])
def test_jsonl_is_known_by_its_name(write, name):
    """Both names of JSON lines are read, plain or gzipped."""
    content = b'{"a": "1"}\n'
    source = open_source(write(gzip.compress(content) if name.endswith("gz") else content, name))
    assert (source.format, source.columns) == ("jsonl", ("a",))
    assert [row.values for row in source.rows()] == [{"a": "1"}]


@pytest.mark.parametrize(
    ("content", "values"),
    [
        (b"\xef\xbb\xbfa,b\n1,2\n", {"a": "1", "b": "2"}),
        (b"a,b\r\n1,2\r\n", {"a": "1", "b": "2"}),
        (b"a,b\r1,2\r", {"a": "1", "b": "2"}),
        (b"a,b\n1,2", {"a": "1", "b": "2"}),
        (b"\n\na,b\n1,2\n", {"a": "1", "b": "2"}),
        (b"a;b\n1,5;2\n", {"a": "1,5", "b": "2"}),
        (b"a\tb\n1;5\t2\n", {"a": "1;5", "b": "2"}),
        (b'"a,x";b\n1;2\n', {"a,x": "1", "b": "2"}),
        (b"a;b,c\n1;2,3\n", {"a;b": "1;2", "c": "3"}),
        (b'"a;b"\n1;2\n', {"a;b": "1;2"}),
        (b'a,b\n" x\r\ny\rz\n",\x01\n', {"a": " x\r\ny\rz\n", "b": "\x01"}),
        (b'a,b\n5" pipe,"say ""hi"""\n', {"a": '5" pipe', "b": 'say "hi"'}),
        ("a,b\n\u2028é,\x85\x0b\x1c\n".encode(), {"a": "\u2028é", "b": "\x85\x0b\x1c"}),
        (b"a,b\n,\n", {"a": "", "b": ""}),
    ],
)
def test_csv_dialects(write, content, values):
    """Byte-order marks, line ends, delimiters and quoted line breaks are read as written."""
    (row,) = rows_of(write(content))
    assert (row.values, row.problem) == (values, None)


def test_a_header_alone_has_no_rows(write):
    """A CSV of a header and nothing else is a good file of 0 rows."""
    source = open_source(write("a,b\n"))
    assert list(source.rows()) == []
    assert source.survey().rows == 0


def test_jsonl_keeps_numbers_that_do_not_fit_in_64_bits(write):
    """An integer of any length is exact, on top or nested."""
    big = 12345678901234567890123456789
    content = f'{{"a": {big}, "b": [-9999999999999999999], "c": 0.5}}\n'
    (row,) = rows_of(write(content, "t.jsonl"))
    assert row.values == {"a": big, "b": [-9999999999999999999], "c": 0.5}


@pytest.mark.parametrize("number", [2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1])
def test_jsonl_integers_around_64_bits_are_exact(write, number):
    """The shortest numbers that orjson would round are read exactly too."""
    (row,) = rows_of(write(f'{{"a": {number}}}', "t.jsonl"))
    assert row.values == {"a": number}
    assert type(row.values["a"]) is int


def test_jsonl_byte_order_mark_is_no_part_of_the_first_line(write):
    """A UTF-8 byte-order mark is accepted."""
    assert rows_of(write(b'\xef\xbb\xbf{"a": 1}', "t.jsonl")) == [Row(0, 1, {"a": 1})]


def test_survey_gives_the_exact_count_and_all_names(write):
    """The survey counts good and bad rows alike, and unites the keys in the order first seen."""
    survey = open_source(write("a,b\n1,2\n1\n\n3,4\n")).survey()
    assert (survey.rows, survey.columns, survey.fault) == (3, ("a", "b"), None)
    survey = open_source(write('{"b": 1}\nnot\n{"a": 1, "b": 2}\n', "t.jsonl")).survey()
    assert (survey.rows, survey.columns, survey.fault) == (3, ("b", "a"), None)


def test_columns_of_one_name_are_numbered(write):
    """Jira writes a column for each label of an issue, and names them all Labels."""
    source = open_source(write("a,Labels,b,Labels,Labels\n1,x,2,y,\n"))
    assert source.columns == ("a", "Labels", "b", "Labels (2)", "Labels (3)")
    (row,) = source.rows()
    assert row.values == {"a": "1", "Labels": "x", "b": "2", "Labels (2)": "y", "Labels (3)": ""}


@pytest.mark.parametrize(
    "text",
    [
        *("", "no", "[]", "[1]", '[-1, ["a"]]', '[1.5, ["a"]]', '[1e400, ["a"]]', '["1", ["a"]]'),
        *('[1, "ab"]', "[1, {}]", "[" * 200_000, '{"rows": 1}'),
    ],
)
def test_a_text_that_tells_of_no_survey(text):
    """Whatever stands where a survey should, it is found out anew."""
    assert Survey.of_text(text) is None


def test_a_survey_as_text():
    """What is written down is read as it was."""
    survey = Survey(3, ("a", "é"))
    assert Survey.of_text(survey.as_text()) == survey


def test_survey_is_made_once(write):
    """Asking again does not read the file again."""
    path = write('{"b": 1}\n', "t.jsonl")
    source = open_source(path)
    first = source.survey()
    path.unlink()
    assert source.survey() is first


# --- rows that are bad ----------------------------------------------------------------------------

BAD_CSV_ROWS = {
    "not UTF-8": (b"x,caf\xe9", "not UTF-8: byte 6 of line 3 is 0xE9"),
    "not UTF-8, counted in bytes": ("é,".encode() + b"\xff", "byte 4 of line 3 is 0xFF"),
    "too few cells": (b"x", "too few cells: 1, and the header has 2"),
    "too many cells": (b"x,y,z", "too many cells: 3, and the header has 2"),
    "cell over 128 KiB": (b"x," + b"y" * 131_073, "cell 2 holds 131,073 bytes"),
    "cell over 128 KiB in few characters": (
        b"x," + "é".encode() * 65_537,
        "cell 2 holds 131,074 bytes",
    ),
    "a NUL byte": (b"x\0,y", "a NUL byte on line 3"),
    "text after a quote": (b'"x"y,z', "text follows a closing quote"),
    "a line over 1 MiB": (b"x" * 3_000_000 + b",y", "a line over 1 MiB"),
}


@pytest.mark.parametrize("name", BAD_CSV_ROWS)
def test_a_bad_csv_row_is_told_and_the_rest_go_on(write, name):
    """The bad row has its line and what is wrong with it; its neighbours are whole."""
    bad, problem = BAD_CSV_ROWS[name]
    before, row, after = rows_of(write(b"a,b\n1,2\n" + bad + b"\n3,4\n"))
    assert before == Row(0, 2, {"a": "1", "b": "2"})
    assert (row.number, row.line) == (1, 3)
    assert problem in row.problem
    assert after == Row(2, 4, {"a": "3", "b": "4"})


def test_a_cell_of_128_kib_is_good(write):
    """The limit itself is allowed."""
    (row,) = rows_of(write(b"a,b\nx," + b"y" * 131_072 + b"\n"))
    assert row.problem is None


def test_bytes_that_are_not_utf8_survive(write):
    """What could not be decoded encodes back to the bytes of the file."""
    (row,) = rows_of(write(b"a\ncaf\xe9\xff\n"))
    assert row.values["a"].encode(errors="surrogateescape") == b"caf\xe9\xff"


def test_the_first_flaw_of_a_row_is_told(write):
    """A good line later in the same row does not hide a bad one before it."""
    (row,) = rows_of(write(b'a\n"\xff\n\xc3\xa9\n\xfe"\n'))
    assert row.problem == "not UTF-8: byte 2 of line 2 is 0xFF"


def test_cells_too_many_are_kept(write):
    """A row keeps the cells that no column names."""
    (row,) = rows_of(write("a,b\n1,2,3,4\n"))
    assert (row.values, row.extra) == ({"a": "1", "b": "2"}, ("3", "4"))


@pytest.mark.parametrize(
    "rest",
    ["3,4\n5,6\n", '3,4\n5,"six, ""quoted"""\n', '3,4\n"a\nb",6\n', "3,4\n" * 200_000],
    ids=["to the end", "up to another quote", "up to a quoted line break", "past 1 MiB"],
)
def test_an_unterminated_quote_costs_its_line_alone(write, rest):
    """A quote that is never closed rejects the line it stands on, and every later row is read."""
    first, *others = rows_of(write('a,b\n1,"2\n' + rest))
    assert (first.number, first.line, first.raw, first.values) == (0, 2, '1,"2', {})
    assert "quote" in first.problem
    assert all(row.problem is None for row in others)
    expected = list(csv.reader(io.StringIO(rest, newline="")))
    assert [list(row.values.values()) for row in others] == expected
    assert others[0].line == 3


def test_every_line_of_quotes_gone_wrong_is_told(write):
    """Bad quotes on each of many lines give one bad row a line, each with its own text."""
    bad = [f'{n},"x" y' for n in range(50)]
    rows = rows_of(write("a,b\n" + "\n".join(bad)))
    assert [(row.line, row.raw) for row in rows] == [(n + 2, text) for n, text in enumerate(bad)]


def test_quotes_that_never_close_cost_linear_time(write, monkeypatch):
    """Where every line opens a quote for good, reading ahead is bounded over the whole file."""
    parsed = 0

    class Counted(csv_rows._Lines):
        def __next__(self):
            nonlocal parsed
            line = super().__next__()
            parsed += len(line)
            return line

    monkeypatch.setattr(csv_rows, "_Lines", Counted)
    count = 3_000
    path = write("a,b\n" + f'x,{"y" * 1000}","c\n' * count + '1,"two\nlines"\n')
    *bad, good = rows_of(path)
    assert [row.line for row in bad] == list(range(2, count + 2))
    assert all("is not closed within" in row.problem for row in bad[:-20])
    assert good.values == {"a": "1", "b": "two\nlines"}
    assert parsed < 2 * (8 << 20) + count * (1 << 10) * 12


def test_a_long_line_is_dropped_to_its_end(write):
    """A line over the limit is one bad row, wherever it is cut and whatever follows it."""
    for size in (2**20 - 2, 2**20, 2**20 + 1, 2**20 + 2, 2**21 + 3, 2**21 + 4):
        rows = rows_of(write(b"a,b\n" + b"x" * size + b"\n3,4\n"))
        assert [(row.number, row.line) for row in rows] == [(0, 2), (1, 3)]
        assert rows[0].problem
        assert rows[1].values == {"a": "3", "b": "4"}


def test_a_long_line_after_an_open_quote_is_one_row_of_its_own(write):
    """The line that passes the limit inside an open quote is given back, and told again."""
    rows = rows_of(write(b'a,b\n1,"2\n' + b"x" * 3_000_000 + b"\n3,4\n"))
    assert [(row.line, bool(row.problem)) for row in rows] == [(2, True), (3, True), (4, False)]


def test_a_limit_that_someone_lowered_is_told(write):
    """The csv module's limit is the process's: a row that meets a lower one says so."""
    source = open_source(write("a,b\n1,toolong\n3,4\n"))
    before = csv.field_size_limit(5)
    try:
        bad, good = source.rows()
    finally:
        csv.field_size_limit(before)
    assert bad.problem == "field larger than field limit (5)"
    assert good.problem is None


BAD_JSON_LINES = {
    "not JSON": (b"ticket", "not JSON: "),
    "cut short": (b'{"a": 1', "not JSON: unexpected end of data"),
    "a second value": (b'{"a": 1} {}', "not JSON: "),
    "an array": (b"[1]", "not a JSON object, but an array"),
    "a text": (b'"x"', "not a JSON object, but a text"),
    "a number": (b"1.5", "not a JSON object, but a number"),
    "a boolean": (b"true", "not a JSON object, but true or false"),
    "null": (b"null", "not a JSON object, but null"),
    "NaN": (b'{"a": NaN}', "not JSON: "),
    "Infinity": (b'{"a": -Infinity}', "not JSON: "),
    "a number past the largest": (b'{"a": 1e999}', "not JSON: "),
    "a half of a surrogate pair": (b'{"a": "\\ud800"}', "not JSON: "),
    "not UTF-8": (b'{"a": "\xe9"}', "not UTF-8: byte 8 of the line is 0xE9"),
    "a NUL byte": (b'{"a": "x\0"}', "a NUL byte"),
    "an escaped NUL": (b'{"a": ["\\u0000"]}', "a NUL character"),
    "a NUL in a key": (b'{"\\u0000": 1}', "a NUL character"),
    "a value over 128 KiB": (b'{"a": {"b": "' + b"y" * 131_073 + b'"}}', "131,073 bytes"),
    "deeper than the parser": (b'{"a": ' + b"[" * 100_000, "not JSON: "),
    "deep": (b'{"a": ' + b"[" * 900 + b"]" * 900 + b"}", "nested over 100 levels deep"),
    "a line over 16 MiB": (b'{"a": "' + b"y" * (17 << 20) + b'"}', "a line over 16 MiB"),
}


@pytest.mark.parametrize("name", BAD_JSON_LINES)
def test_a_bad_json_line_is_told_and_the_rest_go_on(write, name):
    """The bad line has its number and what is wrong with it; its neighbours are whole."""
    bad, problem = BAD_JSON_LINES[name]
    before, row, after = rows_of(write(b'{"a": 1}\n' + bad + b'\n{"a": 3}\n', "t.jsonl"))
    assert before == Row(0, 1, {"a": 1})
    assert (row.number, row.line) == (1, 2)
    assert problem in row.problem
    assert row.values or row.raw.encode(errors="surrogateescape") == bad[: (16 << 20) + 1]
    assert after == Row(2, 3, {"a": 3})


def test_an_object_too_deep_is_kept_as_its_line_alone(write):
    """Nobody after the reader is handed a value whose depth would exhaust the stack."""
    text = '{"a": ' + "[" * 900 + "]" * 900 + "}"
    (row,) = rows_of(write(text, "t.jsonl"))
    assert (row.values, row.raw) == ({}, text)


def test_an_escaped_backslash_before_u0000_is_no_nul(write):
    """Text that only looks like an escaped NUL is good, as is one in a large good object."""
    (row,) = rows_of(write('{"a": "\\\\u0000", "b": ["[", {}]}', "t.jsonl"))
    assert (row.values, row.problem) == ({"a": "\\u0000", "b": ["[", {}]}, None)


def test_a_long_line_of_short_values_is_good(write):
    """The limit is a value's, not the line's."""
    wide = {f"k{n}": "é" * 40_000 for n in range(5)}
    (row,) = rows_of(write(json.dumps(wide), "t.jsonl"))
    assert (row.values, row.problem) == (wide, None)


# --- files that are bad ---------------------------------------------------------------------------

BAD_FILES = {
    "empty": ("t.csv", b"", "is empty"),
    "blank lines": ("t.csv", b"\n\n\n", "is empty"),
    "a byte-order mark": ("t.csv", b"\xef\xbb\xbf", "is empty"),
    "empty JSONL": ("t.jsonl", b"", "is empty"),
    "empty gzip": ("t.csv.gz", gzip.compress(b""), "is empty"),
    "suffix": ("t.xlsx", b"a,b\n", "must end in .csv, .jsonl, .ndjson"),
    "no suffix": ("tickets", b"a,b\n", "must end in .csv, .jsonl, .ndjson"),
    "gz alone": ("tickets.gz", b"a,b\n", "must end in .csv, .jsonl, .ndjson"),
    "header not UTF-8": ("t.csv", b"a,caf\xe9\n1,2\n", "line 1: not UTF-8: byte 6 of line 1"),
    "UTF-16": ("t.csv", "a,b\n1,2\n".encode("utf-16"), "is UTF-16"),
    "UTF-16, big end first": ("t.jsonl", b"\xfe\xff\0{\0}", "is UTF-16"),
    "UTF-16 without a mark": ("t.csv", "a,b\n".encode("utf-16-le"), "a NUL byte on line 1"),
    "a workbook": ("t.csv", b"PK\x03\x04rest", "Excel workbook"),
    "gzip without .gz": ("t.csv", gzip.compress(b"a\n1\n"), "end its name in .gz"),
    "a name like a number": ("t.csv", b"a,a (2),a\n1,2,3\n", "two columns are named 'a (2)'"),
    "a blank name": ("t.csv", b"a, ,c\n1,2,3\n", "column 2 has no name"),
    "a quote in the header": ("t.csv", b'a,"b\n1,2\n', "a quote opened on this line"),
    "two delimiters": ("t.csv", b"a;b\tc\n", "both semicolons and tabs"),
    "not gzip": ("t.csv.gz", b"a,b\n1,2\n", "cannot be read: its gzip data is damaged"),
    "gzip cut at once": ("t.csv.gz", gzip.compress(b"a")[:11], "its gzip data is damaged"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_file_is_refused_in_one_line(write, name):
    """A file that cannot be an input raises one line that names it, before any row."""
    filename, content, message = BAD_FILES[name]
    path = write(content, filename)
    with pytest.raises(ConfigurationError) as caught:
        open_source(path)
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_what_is_no_file_is_refused(tmp_path, write):
    """A missing file, a folder, a pipe and a path through a file are each told in one line."""
    (tmp_path / "folder.csv").mkdir()
    os.mkfifo(tmp_path / "pipe.csv")
    told = {
        tmp_path / "none.csv": "no such file",
        tmp_path / "folder.csv": "is a folder",
        tmp_path / "pipe.csv": "is not a regular file",
        write("a\n", "t.txt") / "in.csv": "cannot be read: Not a directory",
        tmp_path / "nul\0.csv": "cannot be read: ",
    }
    for path, message in told.items():
        with pytest.raises(ConfigurationError) as caught:
            open_source(path)
        assert message in str(caught.value)


def test_jsonl_of_blank_lines_is_empty(write):
    """Blank lines alone are refused by the survey, which is the first to read them all."""
    with pytest.raises(ConfigurationError, match="is empty"):
        open_source(write(b"\n \n", "t.jsonl")).survey()


def test_jsonl_whose_keys_are_data_is_refused(write):
    """The names are bounded, so that a file keyed by its data cannot fill the memory."""
    lines = "".join(f'{{"{n}": 1}}\n' for n in range(10_001))
    with pytest.raises(ConfigurationError, match="over 10,000 different keys"):
        open_source(write(lines, "t.jsonl")).survey()


@pytest.mark.parametrize("name", ["t.csv.gz", "t.jsonl.gz"])
@pytest.mark.parametrize("harm", ["cut", "changed", "checksum", "followed"])
def test_gzip_damaged_on_the_way_gives_the_rows_before_it(write, name, harm):
    """Rows come out up to the damage; then an error names the line where reading stopped."""
    head = b"" if "jsonl" in name else b"key,more\n"
    lines = [json.dumps({"key": f"{n}", "more": os.urandom(30).hex()}) for n in range(20_000)]
    if head:
        lines = [",".join(json.loads(line).values()) for line in lines]
    packed = bytearray(gzip.compress(head + "\n".join(lines).encode()))
    if harm == "cut":
        del packed[len(packed) // 2 :]
    elif harm == "changed":
        packed[len(packed) // 2 : len(packed) // 2 + 400] = b"\xff" * 400
    elif harm == "checksum":
        packed[-8] ^= 1
    else:
        packed += b"rubbish"
    source = open_source(write(bytes(packed), name))
    read = []
    with pytest.raises(ConfigurationError, match=r"reading stopped after line [\d,]+: its gzip"):
        read.extend(source.rows())
    # A changed byte is noticed only by what follows it, so rows after it may be anything.
    sure = 5_000 if harm == "changed" else len(read)
    assert len(read) >= sure > 0
    assert [row.values["key"] for row in read[:sure]] == [f"{n}" for n in range(sure)]
    survey = source.survey()
    assert survey.rows == len(read)
    assert "its gzip data is damaged" in survey.fault
    if harm != "changed":
        assert f"after line {len(read) + bool(head):,}: " in survey.fault


# --- properties -----------------------------------------------------------------------------------

cells = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
ends = st.sampled_from(["\n", "\r\n"])


@given(st.lists(st.tuples(cells, cells, cells)), ends, st.sampled_from(",;\t"))
def test_csv_that_was_written_reads_back(tmp_path_factory, table, end, delimiter):
    """Any cells that the csv module writes come back exactly, in every dialect that is read."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter, lineterminator=end, quoting=csv.QUOTE_ALL)
    writer.writerows([("a", "b", "c"), *table])
    path = written(tmp_path_factory.getbasetemp(), text.getvalue())
    rows = rows_of(path)
    assert [tuple(row.values.values()) for row in rows] == table
    assert all(row.problem is None for row in rows)


@given(st.binary(max_size=200))
def test_any_bytes_give_rows_and_no_crash(tmp_path_factory, content):
    """Whatever stands after a header, every line that is not blank is in some row."""
    path = written(tmp_path_factory.getbasetemp(), b"a,b\n" + content)
    rows = rows_of(path)
    assert [row.number for row in rows] == list(range(len(rows)))
    assert [row.line for row in rows] == sorted({row.line for row in rows})
    assert all(row.problem or len(row.values) == 2 for row in rows)
    assert open_source(path).survey().rows == len(rows)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | cells,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(cells, inner, max_size=3),
    max_leaves=8,
)


@given(st.lists(st.dictionaries(cells, json_values, min_size=1), min_size=1), st.booleans())
def test_jsonl_that_was_written_reads_back(tmp_path_factory, objects, ascii_only):
    """Any objects come back exactly, escaped or not, integers of any length among them."""
    text = "\n".join(json.dumps(each, ensure_ascii=ascii_only) for each in objects)
    source = open_source(written(tmp_path_factory.getbasetemp(), text, "t.jsonl"))
    assert [row.values for row in source.rows()] == objects
    assert source.columns == tuple(dict.fromkeys(key for each in objects for key in each))


def test_memory_does_not_grow_with_the_rows(write):
    """Reading 60,000 rows holds no more than reading 6,000."""
    peaks = []
    for count in (6_000, 60_000):
        path = write("a,b\n" + f"1,{'x' * 200}\n" * count)
        tracemalloc.start()
        for _ in open_source(path).rows():
            pass
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 64 * KIB


# --- real data ------------------------------------------------------------------------------------


def test_jira_story_points_are_read_whole():
    """All 16 files have their 23,313 rows, every key its own, and not one problem."""
    files = sorted((DATA / "jira_storypoints").glob("*.csv"))
    rows = [row for path in files for row in rows_of(path)]
    assert (len(files), len(rows)) == (16, 23_313)
    assert not [row for row in rows if row.problem]
    assert len({row.values["issuekey"] for row in rows}) == 23_313
    assert sum(open_source(path).survey().rows for path in files) == 23_313


def test_servicenow_incidents_are_read_whole():
    """The compressed export has its 119,998 rows, and not one problem."""
    source = open_source(DATA / "servicenow_incidents" / "incident_event_log.csv.gz")
    assert source.survey().rows == 119_998
    assert sum(row.problem is None for row in source.rows()) == 119_998
