"""The benchmarks run, whole and small; no test here holds a time to a bound."""

import json
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from benchmarks import report
from benchmarks.__main__ import arguments, size_of
from benchmarks.gathered import TICK, percentile, waits
from benchmarks.peers import OURS, PEERS, RAW
from benchmarks.shows import AS_LONG, CUSTOM, LENGTH, QUICK, Row, least, most, ratio
from benchmarks.workloads import WORKLOADS, rows

ROOT = Path(__file__).parent.parent
SMALL = [
    *("--calls", "2", "--gathered", "70", "--many", "2", "--imported", "2"),
    *("--rows", "2", "3"),
]


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """Run everything once, as small as can be, and return what it printed and where it wrote."""
    folder = tmp_path_factory.mktemp("results")
    command = [sys.executable, "-m", "benchmarks", "--quick", *SMALL, "--out", str(folder)]
    done = subprocess.run(command, capture_output=True, cwd=ROOT, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout, folder


def test_the_table_has_a_row_for_each_show_and_peer(ran):
    """Every show has its rows, and every peer its own, measured or with what it lacks."""
    printed, _ = ran
    lines = re.findall(r"^\| (\d) \| (.+?) \| (.*) \|$", printed, re.MULTILINE)
    assert {int(show) for show, *_ in lines} == set(range(1, 8))
    labels = [label for _, label, _ in lines]
    for peer in PEERS:
        assert any(peer.name in label for label in labels), peer.name
    for _, label, rest in lines:
        assert re.match(r"[\d.,]+", rest) or "is not installed" in rest, label


def test_what_is_ours_is_measured(ran):
    """What needs no peer has a figure in the JSON, for every run."""
    kept = json.loads((ran[1] / "quick.json").read_text("utf-8"))
    labels = {row["label"]: row for row in kept["rows"]}
    for label in (
        f"tickets.create ÷ {RAW}",
        "create_many ÷ a loop by hand",
        "import_file, to a journal ÷ a loop by hand over a CSV file",
    ):
        assert len(labels[label]["figures"]) == QUICK.runs
    failed = next(row for label, row in labels.items() if "calls that failed" in label)
    assert failed["median"] == 0
    assert kept["facts"]["packages"]["aiohttp"]
    assert all(value > 0 for value in kept["cpu_us"][OURS])


def test_the_graph_is_a_picture(ran):
    """The graph is well-formed SVG with a bar for each peer that was measured."""
    picture = ET.parse(ran[1] / "quick.svg")
    texts = {text.text for text in picture.iter("{http://www.w3.org/2000/svg}text")}
    assert {peer.name for peer in PEERS if peer.missing() is None} <= texts


def test_a_bound_is_the_medians():
    """A bound holds when the median keeps it, whatever the extremes are."""
    assert Row(1, "", (0.1, 1.0, 9.0), bound=most(1)).holds
    assert not Row(1, "", (0.1, 1.1, 9.0), bound=most(1)).holds
    assert Row(1, "", (0.1, 4.5, 9.0), bound=least(4.5)).holds
    assert Row(1, "", (1.0,)).holds is None


def test_a_ratio_is_taken_within_a_run():
    """Each run's figure is divided by the same run's, and what is missing is named."""
    figures = {"a": [2.0, 9.0], "b": [1.0, 3.0], "c": []}
    assert ratio(1, "a", "b", figures).figures == (2.0, 3.0)
    skipped = ratio(1, "a", "c", figures, most(1))
    assert "c is not installed" in (skipped.skipped or "")
    assert "not measured" in report.table([skipped])


def test_a_blocked_loop_counts_for_all_who_would_have_come():
    """One second of blocking among a thousand quick ticks is a sixth of the time, not a tick."""
    late = [0.0] * 1_000 + [1.0]
    assert len(list(waits(late))) == pytest.approx(1_000 + 1 / TICK, abs=2)
    assert percentile(waits(late), 0.99) > 900
    assert percentile(late, 0.99) == 0
    assert percentile([0.0] * 100, 0.99) == 0


def test_rows_differ_in_their_key_and_are_as_long_as_is_said():
    """A row's fields are the seed's, a key of its own, and the custom ones asked for."""
    first, second = rows(2, CUSTOM[-1], LENGTH)
    assert first["external_id"] != second["external_id"]
    (long,) = rows(1, 1, AS_LONG)
    assert len(json.dumps(long)) == pytest.approx(len(json.dumps(first)), rel=0.1)


def test_options_change_what_they_name():
    """`--million` adds its rows, and any size can be told; the rest stays."""
    assert size_of(arguments(["--million", "--runs", "9"])).rows[-1] == 1_000_000
    assert size_of(arguments(["--quick", "--calls", "3"])).runs == QUICK.runs


def test_every_workload_has_a_name_of_its_own():
    """A workload is told apart by its name, and what cannot be had says what is missing."""
    assert {peer.name for peer in PEERS} < WORKLOADS.keys()
    assert WORKLOADS[OURS].missing is None
