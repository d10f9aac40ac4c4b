"""Report: a rejected row can be fixed and imported again, and a summary adds up."""

import csv
import io
import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routera_async.bulk.readers import Row, open_source
from routera_async.bulk.report import RejectsFile, Summary, rejects_path
from routera_async.errors import ConfigurationError


def reject_all(path: Path, reason: str = "because") -> Path:
    """Reject every row of a file, for its own problem where it has one."""
    source = open_source(path)
    with RejectsFile(source) as rejects:
        for row in source.rows():
            rejects.write(row, "rejected", row.problem or reason)
    return rejects.path


def read(path: Path) -> list[dict]:
    """Return the cells of every row of a file."""
    return [row.values for row in open_source(path).rows()]


@pytest.fixture
def write(tmp_path):
    """Return a function that writes an input."""

    def write(content: str | bytes, name: str = "t.csv") -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


# --- the file -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("tickets.csv", "tickets.rejects.csv"),
        ("tickets.CSV", "tickets.rejects.csv"),
        ("my.tickets.csv", "my.tickets.rejects.csv"),
        ("tickets.jsonl", "tickets.rejects.jsonl"),
        ("tickets.ndjson", "tickets.rejects.jsonl"),
    ],
)
def test_rejects_stand_beside_the_input(write, name, expected):
    """The name is the input's, and says the format that is written."""
    path = write('{"a": 1}\n', name)
    assert rejects_path(open_source(path)) == path.with_name(expected)


def test_rejects_of_a_compressed_input_are_plain(tmp_path):
    """Someone is to open and fix them."""
    data = Path(__file__).parents[2].parent / "shared" / "data" / "servicenow_incidents"
    shutil.copy(data / "incident_event_log.csv.gz", tmp_path / "log.csv.gz")
    source = open_source(tmp_path / "log.csv.gz")
    with RejectsFile(source) as rejects:
        rejects.write(next(source.rows()), "rejected", "x")
    assert rejects.path == tmp_path / "log.rejects.csv"
    assert rejects.path.read_text().startswith("number,incident_state,")


def test_nothing_is_written_without_a_reject(write):
    """That the file is there means that there were rejects."""
    with RejectsFile(open_source(write("a\n1\n"))) as rejects:
        pass
    assert not rejects.path.exists()
    assert rejects.rows == 0


def test_an_older_file_is_moved_aside(write):
    """What an earlier import left is kept as .bak and never taken for this one's."""
    path = write("a\n1\n")
    rejects = reject_all(path)
    earlier = rejects.read_text()
    with RejectsFile(open_source(path)):
        assert not rejects.exists()
    assert rejects.with_name("t.rejects.csv.bak").read_text() == earlier


def test_a_rejected_csv_row_keeps_its_columns(write):
    """The input's own columns come first, then the line, the status and the reason."""
    path = write('a,b\n1,"two\nlines"\n3,4\n')
    assert reject_all(path).read_bytes() == (
        b'a,b,line,status,reason\r\n1,"two\nlines",2,rejected,because\r\n3,4,4,rejected,because\r\n'
    )


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_a_rejects_file_has_its_inputs_delimiter(write, delimiter):
    """So that the same command reads it."""
    rejects = reject_all(write(f"a{delimiter}b\n1,5{delimiter}2\n"))
    assert rejects.read_text().splitlines()[0] == delimiter.join(
        ["a", "b", "line", "status", "reason"]
    )
    assert read(rejects)[0]["a"] == "1,5"


def test_a_rejected_object_keeps_its_keys(write):
    """A JSON object is written as it was, with the three keys after its own."""
    big = 10**30
    path = write(f'{{"b": [1, null], "a": "é", "n": {big}}}\n{{"c": 1.5}}\n', "t.jsonl")
    first, second = (json.loads(line) for line in reject_all(path).read_text("utf-8").splitlines())
    added = {"line": 1, "status": "rejected", "reason": "because"}
    assert first == {"b": [1, None], "a": "é", "n": big} | added
    assert list(first) == ["b", "a", "n", "line", "status", "reason"]
    assert second == {"c": 1.5} | added | {"line": 2}


def test_bytes_that_are_not_utf8_are_written_back(write):
    """The rejects file holds the very bytes of the input, in both formats."""
    assert b"\ncaf\xe9,2,rejected,not UTF-8" in reject_all(write(b"a\ncaf\xe9\n")).read_bytes()
    rejects = reject_all(write(b'{"a": "caf\xe9"}\n', "t.jsonl"))
    assert b'{"raw": "{\\"a\\": \\"caf\xe9\\"}", "line": 1, ' in rejects.read_bytes()


def test_a_row_of_the_wrong_length_is_kept_whole(write):
    """Nobody knows which cell is missing or too many: its line stands in the first column."""
    few, many = read(reject_all(write('a,b\n1\n1,2,"3,\n",é\n')))
    assert few == {
        "a": "1",
        "b": "",
        "line": "2",
        "status": "rejected",
        "reason": "too few cells: 1, and the header has 2; the first column holds the whole line",
    }
    assert (many["a"], many["b"]) == ('1,2,"3,\n",é', "")
    assert many["reason"].startswith("too many cells: 4, and the header has 2; ")


UNFIXED = [
    pytest.param("a,b\n1\n", id="too few"),
    pytest.param("a,b\n1,2,3\n", id="too many"),
    pytest.param('a,b\n1,"2\n', id="a quote"),
    pytest.param("a\n1,2\n", id="one column"),
]


@pytest.mark.parametrize("content", UNFIXED)
def test_a_whole_line_that_was_not_fixed_is_no_row(write, content):
    """Imported as it is, a line in the first column does not pass for a row of blank cells."""
    source = open_source(reject_all(write(content)))
    (row,) = source.rows()
    rejects = RejectsFile(source)
    assert rejects.unfixed(row) == "not fixed; the first column holds the whole line"
    with rejects:
        rejects.write(row, "rejected", rejects.unfixed(row))
    again = open_source(rejects.path)
    (second,) = again.rows()
    assert second.values | {"reason": ""} == row.values | {"reason": ""}
    assert RejectsFile(again).unfixed(second)


def test_a_whole_line_that_was_fixed_is_a_row(write):
    """One that was split by hand is one, and so is a row that never was whole."""
    rejects = reject_all(write("a,b\n1\n3,4\n"))
    fixed = rejects.read_text().replace("1,,", "1,2,")
    source = open_source(write(fixed, "fixed.csv"))
    assert [RejectsFile(source).unfixed(row) for row in source.rows()] == [None, None]
    assert RejectsFile(open_source(write("a\n1\n"))).unfixed(Row(0, 2, {"a": "1,2"})) is None


def test_a_raw_line_that_was_not_fixed_is_no_row(write):
    """The same of a line of JSON."""
    source = open_source(reject_all(write('[1]\n{"a": 1}\n', "t.jsonl")))
    told = [RejectsFile(source).unfixed(row) for row in source.rows()]
    assert told == ["not fixed: raw holds the whole line", None]


def test_a_dry_run_has_a_file_of_its_own(write):
    """So that it does not move away what an import has left."""
    path = write("a\n1\n")
    with RejectsFile(open_source(path), rehearsed=True) as rejects:
        assert rejects.path == path.with_name("t.dry-run.rejects.csv")


def test_a_folder_that_cannot_be_written_is_told_on_entering(write):
    """It is found before the first row is sent, not at the first that is rejected."""
    rejects = RejectsFile(open_source(write("a\n1\n", f"{'t' * 250}.csv")))
    with pytest.raises(ConfigurationError, match="the rejects file cannot be written"), rejects:
        pytest.fail("it was entered")


def test_a_line_that_could_not_be_split_is_kept_whole(write):
    """Its text stands in the first column, and the reason says so."""
    (row,) = read(reject_all(write('a,b\n1,"2\n')))
    assert (row["a"], row["b"], row["line"]) == ('1,"2', "", "2")
    assert row["reason"].endswith("is never closed; the first column holds the whole line")


@pytest.mark.parametrize("line", ["[1, 2]", "rubbish", '{"a": 1', '"raw"'])
def test_a_line_that_is_no_object_is_kept_raw(write, line):
    """Its text is under `raw`, and importing it again rejects it again, as it was."""
    rejects = reject_all(write(f"{line}\n", "t.jsonl"))
    assert read(rejects)[0]["raw"] == line
    again = read(reject_all(rejects, "again"))
    assert again == [{"raw": line, "line": 1, "status": "rejected", "reason": "again"}]


# --- a rejects file read again --------------------------------------------------------------------


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl"])
def test_rejects_of_rejects_do_not_grow(write, name):
    """The three columns of an input that is itself a rejects file are replaced."""
    content = "a,b\n1,2\n3,4\n" if name == "t.csv" else '{"a": 1}\n{"b": 2}\n{"a": 3, "c": 4}\n'
    first = reject_all(write(content, name), "first")
    second = reject_all(first, "second")
    assert [list(row) for row in read(second)] == [list(row) for row in read(first)]
    assert {row["reason"] for row in read(second)} == {"second"}


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl"])
def test_columns_of_the_same_names_are_kept(write, name):
    """An input's own `status` stays, the added one takes another name, and again does not grow."""
    content = "status,a\nopen,1\n" if name == "t.csv" else '{"status": "open", "a": "1"}\n{"b": 1}'
    first = reject_all(write(content, name))
    row = read(first)[0]
    assert (row["status"], row["a"], row["reject_status"]) == ("open", "1", "rejected")
    assert list(row) == ["status", "a", "line", "reject_status", "reason"]
    second = reject_all(first, "second")
    assert list(read(second)[0]) == list(row)
    assert read(second)[0] == row | {"line": read(second)[0]["line"], "reason": "second"}


def test_columns_that_are_all_the_inputs_own_are_kept(write):
    """A file of nothing but line, status and reason is no rejects file."""
    (row,) = read(reject_all(write("line,status,reason\n1,2,3\n")))
    assert (row["line"], row["status"], row["reason"]) == ("1", "2", "3")
    assert (row["reject_line"], row["reject_status"]) == ("2", "rejected")


def test_cells_pushed_under_the_three_columns_are_not_lost(write):
    """A fix with a comma too many shifts cells to the right; the line is kept whole then."""
    content = "a,b,line,status,reason\n1,one,two,7,rejected,why\n"
    (row,) = read(reject_all(write(content)))
    assert (row["a"], row["b"]) == ("1,one,two,7,rejected,why", "")


# --- it cannot be written -------------------------------------------------------------------------


def test_a_full_disk_is_told_in_one_line(write):
    """A write that fails names the rejects file and why."""
    rejects = RejectsFile(open_source(write("a\n1\n")))
    rejects.path.symlink_to("/dev/full")
    rejects.write(Row(0, 2, {"a": "1"}), "rejected", "x")
    with pytest.raises(ConfigurationError) as caught:
        rejects.close()
    told = f"{rejects.path}: the rejects file cannot be written: No space left on device"
    assert str(caught.value) == told


def test_a_place_that_cannot_be_opened_is_told_in_one_line(write):
    """So does an open that fails."""
    rejects = RejectsFile(open_source(write("a\n1\n")))
    rejects.path.mkdir()
    with pytest.raises(ConfigurationError, match="cannot be written: Is a directory"):
        rejects.write(Row(0, 2, {"a": "1"}), "rejected", "x")


def test_an_older_file_that_cannot_be_moved_is_told_in_one_line(write):
    """The import stops before anything is sent."""
    path = write("a\n1\n")
    reject_all(path)
    path.with_name("t.rejects.csv.bak").mkdir()
    rejects = RejectsFile(open_source(path))
    with pytest.raises(ConfigurationError, match="written: Is a directory"), rejects:
        pytest.fail("it was entered")


# --- properties -----------------------------------------------------------------------------------

cells = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0")
) | st.sampled_from(
    ["=1+1", "@SUM(A1)", "+1", "-1", '"', '""', "\r", "\n", "\r\n", ",", ";", "\t", "\x1a", " "]
)


@given(st.lists(st.tuples(cells, cells), min_size=1), st.sampled_from(",;\t"))
def test_rejected_cells_read_back(tmp_path_factory, table, delimiter):
    """Control characters, quotes, line breaks and formulas all come back as they were."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter, quoting=csv.QUOTE_ALL)
    writer.writerows([("a", "b"), *table])
    path = tmp_path_factory.getbasetemp() / "t.csv"
    path.write_bytes(text.getvalue().encode())
    rejects = reject_all(path, "why")
    assert [(row["a"], row["b"]) for row in read(rejects)] == table
    assert {row["reason"] for row in read(rejects)} == {"why"}


@given(st.binary(max_size=200), st.sampled_from(["t.csv", "t.jsonl"]))
def test_every_row_of_any_file_can_be_rejected(tmp_path_factory, content, name):
    """Whatever the bytes, each row is written once, and is again a row of the rejects file."""
    path = tmp_path_factory.getbasetemp() / name
    path.write_bytes((b"a,b\n" if name == "t.csv" else b'{"a": 1}\n') + content)
    source = open_source(path)
    count = source.survey().rows
    with RejectsFile(source) as rejects:
        for row in source.rows():
            rejects.write(row, "rejected", row.problem or "why")
    assert rejects.rows == count
    if count:
        assert open_source(rejects.path).survey().rows == count


# --- the summary ----------------------------------------------------------------------------------

OUTCOMES = ("created", "duplicate", "rejected", "unknown", "not_sent")


def test_a_summary_is_printed_in_a_fixed_order():
    """Machines read the keys in the order that the documents give."""
    keys = ["read", *OUTCOMES, "resumed", "requests", "retries", "seconds", "journal", "rejects"]
    assert list(Summary().as_dict()) == keys
    assert Summary(read=2, seconds=1.23456, rejects="t.rejects.csv").as_dict() == {
        **dict.fromkeys((*OUTCOMES, "resumed", "requests", "retries"), 0),
        "read": 2,
        "seconds": 1.235,
        "journal": None,
        "rejects": "t.rejects.csv",
    }


@given(st.lists(st.sampled_from(OUTCOMES)))
def test_a_summary_conserves_rows(statuses):
    """What was read equals the outcomes exactly when each row has one."""
    summary = Summary()
    for status in statuses:
        assert summary.conserves()
        summary.read += 1
        assert not summary.conserves()
        summary.add(status)
    assert summary.conserves()
    assert {name: getattr(summary, name) for name in OUTCOMES} == {
        name: statuses.count(name) for name in OUTCOMES
    }


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        ((), 0),
        (("created", "duplicate"), 0),
        (("created", "rejected"), 1),
        (("created", "unknown"), 3),
        (("not_sent",), 3),
        (("rejected", "unknown"), 3),
        (("rejected", "not_sent"), 3),
    ],
)
def test_the_exit_status_tells_the_worst(statuses, expected):
    """Rows that may still change come before rows that were refused."""
    summary = Summary()
    for status in statuses:
        summary.add(status)
    assert summary.exit_status == expected
