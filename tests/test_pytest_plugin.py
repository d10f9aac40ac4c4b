"""The pytest plugin, as somebody else's project uses it: each test here runs that project's."""

from importlib.metadata import entry_points

import pytest

pytest_plugins = ("pytester",)

PLUGINS = {
    "strict": ["pytest_asyncio.plugin"],
    "auto": ["pytest_asyncio.plugin"],
    "anyio": ["anyio.pytest_plugin"],
    "none": [],
}

BEGINNING = {
    "strict": """
import pytest_asyncio
pytestmark = pytest.mark.asyncio
fixture = pytest_asyncio.fixture
""",
    "auto": """
fixture = pytest.fixture
""",
    "anyio": """
pytestmark = pytest.mark.anyio
fixture = pytest.fixture
@pytest.fixture
def anyio_backend():
    return "asyncio"
""",
}
"""How a project's test file begins, for each way in which its tests may be run."""

HEAD = """
import asyncio, socket, threading
import pytest
from routera_async import (
    DuplicateError, NewTicket, OutcomeUnknown, RateLimitedError, UnauthorizedError
)
from routera_async.sandbox import Fault
NEW = NewTicket(ticket_name="a", pipeline="b", ticket_stage="c", external_id="1")
UNKEYED = NewTicket(ticket_name="a", pipeline="b", ticket_stage="c")
"""

PROJECT = """
@fixture
async def made(routera_client):
    yield await routera_client.tickets.create(NEW)
    assert await routera_client.tickets.find("1")

async def test_what_a_fixture_created(routera_client, routera_sandbox, made):
    assert routera_sandbox.store.get(made.id)["ticket_name"] == "a"
    with pytest.raises(DuplicateError):
        await routera_client.tickets.create(NEW)

async def test_nothing_of_the_other_is_there(routera_client, routera_sandbox):
    assert [ticket async for ticket in routera_client.tickets.list()] == []
    assert (await routera_client.tickets.create(NEW)).external_id == "1"
    assert routera_sandbox.store.count() == 1

@pytest.mark.routera(faults=["error_before_commit", Fault("error_after_commit", status=503)])
async def test_500_twice(routera_client, routera_sandbox):
    with pytest.raises(DuplicateError) as caught:
        await routera_client.tickets.create(NEW)
    assert caught.value.ours
    assert [request.status for request in routera_sandbox.requests] == [500, 503, 409]

@pytest.mark.routera(faults=["disconnect_after_commit"])
async def test_a_lost_answer(routera_client, routera_sandbox):
    with pytest.raises(OutcomeUnknown):
        await routera_client.tickets.create(UNKEYED)
    assert routera_sandbox.store.count() == 1

@pytest.mark.routera(faults=[Fault("rate_limited", retry_after=3600)])
async def test_a_429_is_not_waited_for(routera_client, routera_sandbox):
    assert await routera_client.tickets.create(NEW)
    assert [request.status for request in routera_sandbox.requests] == [429, 201]

@pytest.mark.routera(faults=["rate_limited"] * 5)
async def test_429_for_ever(routera_client, routera_sandbox):
    with pytest.raises(RateLimitedError):
        await routera_client.tickets.create(NEW)

@pytest.mark.routera(faults=["hang_before_commit"])
async def test_silence(routera_client, routera_sandbox):
    with pytest.raises(OutcomeUnknown):
        await routera_client.with_options(deadline=0.1).tickets.create(NEW)

async def test_scripted_within(routera_client, routera_sandbox):
    ticket = await routera_client.tickets.create(NEW)
    routera_sandbox.faults.script(Fault("refused_token", on="GET /tickets/*"))
    with pytest.raises(UnauthorizedError):
        await routera_client.tickets.get(ticket.id)
    URLS.append(routera_sandbox.url)

async def test_a_call_is_left_behind(routera_client, routera_sandbox):
    routera_sandbox.faults.script("hang_before_commit")
    left = asyncio.create_task(routera_client.tickets.create(NEW))
    while not routera_sandbox.requests:
        await asyncio.sleep(0)

URLS = []
async def test_of_which_nothing_is_left():
    host, port = URLS[0].removeprefix("http://").split(":")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)))
    assert [each for each in threading.enumerate() if each.name == "routera-sandbox"] == []
"""

SHARED_LOOP = {
    "strict": """
pytestmark = pytest.mark.asyncio(loop_scope="module")
""",
    "anyio": """
pytestmark = pytest.mark.anyio
@pytest.fixture(scope="module")
def anyio_backend():
    return "asyncio"
@pytest.fixture(scope="module", autouse=True)
async def keeps_the_loop(anyio_backend):
    yield
""",
}

LEFT = """
LOOPS = set()

@pytest.mark.parametrize("which", range(2))
async def test_the_loop_goes_on(routera_client, routera_sandbox, which):
    LOOPS.add(asyncio.get_running_loop())
    assert await routera_client.tickets.create(NEW)

async def test_it_was_one_loop():
    assert len(LOOPS) == 1
"""


@pytest.fixture
def project(pytester, monkeypatch):
    """Return a function that runs a project's tests, warnings being errors."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # of this machine's are too many

    def run(source, *options, mode="none"):
        pytester.makepyfile(source)
        plugins = ["routera_async.pytest_plugin", *PLUGINS[mode]]
        ini = "[pytest]\nfilterwarnings = error\n"
        if "pytest_asyncio.plugin" in plugins:
            ini += f"asyncio_mode = {mode}\nasyncio_default_fixture_loop_scope = function\n"
        pytester.makeini(ini)
        named = [word for plugin in plugins for word in ("-p", plugin)]
        return pytester.runpytest_subprocess("--strict-markers", *named, *options)

    return run


def passes(result, count):
    """Hold a run to as many tests that passed, and to nothing that was left open after them."""
    result.assert_outcomes(passed=count)
    assert result.ret == pytest.ExitCode.OK


@pytest.mark.parametrize("mode", BEGINNING)
def test_whoever_runs_the_tests(project, mode):
    """Each async plugin in each of its modes is served alike, and nothing is left open."""
    passes(project(HEAD + BEGINNING[mode] + PROJECT, mode=mode), 10)


@pytest.mark.parametrize("mode", SHARED_LOOP)
def test_a_loop_that_outlives_the_test(project, mode):
    """The client is closed though the loop that it opened in goes on."""
    passes(project(HEAD + SHARED_LOOP[mode] + LEFT, mode=mode), 3)


def test_without_an_async_plugin(project):
    """A test that runs its own loops, one in another thread, needs no plugin for them."""
    source = """
@pytest.fixture
def elsewhere():
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()

def test_loops(elsewhere, routera_client, routera_sandbox):
    for _ in range(2):
        asyncio.run(routera_client.tickets.create(UNKEYED))
    creating = routera_client.tickets.create(UNKEYED)
    asyncio.run_coroutine_threadsafe(creating, elsewhere).result()
    assert routera_sandbox.store.count() == 3
"""
    passes(project(HEAD + source), 1)


def test_the_nearest_mark_counts(project, pytester):
    """Settings come from the conftest.py, then the module, the class and the test."""
    pytester.makeconftest("""
import pytest

@pytest.fixture
def routera_settings():
    return {"token_ttl": 7.0, "fields": ["source=text"], "client": {"timeout": 7.0}}
""")
    source = """
pytestmark = pytest.mark.routera(token_ttl=8.0, latency=8.0, echo=False)

@pytest.mark.routera(token_ttl=9.0, latency=9.0)
class TestIt:
    @pytest.mark.routera(latency=0.0, client={"mint_external_ids": True})
    def test_it(self, routera_client, routera_sandbox):
        tokens = routera_sandbox._tokens
        assert (tokens.ttl, routera_sandbox.latency) == (9.0, 0.0)
        fields = {"ticket_name": "a", "pipeline": "b", "ticket_stage": "c", "source": "web"}
        ticket = asyncio.run(routera_client.tickets.create(fields))
        assert ticket.external_id
        assert ticket.custom == {}

def test_that(routera_sandbox):
    assert (routera_sandbox._tokens.ttl, routera_sandbox.latency) == (8.0, 8.0)
"""
    passes(project(HEAD + source), 2)


@pytest.mark.parametrize(
    ("mark", "told"),
    [
        ('"lost"', "*mark.routera: its arguments have names: faults=[[]...[]], not 'lost'"),
        ("any_fields=True", "*mark.routera: *unexpected keyword argument 'any_fields'*"),
        (
            'faults=["lost"]',
            "*mark.routera: name must be one of *, not 'lost'",
        ),
        (
            'faults="disconnect_after_commit"',
            "*mark.routera: faults is a list: write faults=[[]'disconnect_after_commit']",
        ),
        ("faults=5", "*mark.routera: faults is a list: write faults=[[]5]"),
        ("client=3", "*mark.routera: client holds RouteraClient's arguments but *, not 3"),
        ('client={"auth": "a"}', "*mark.routera: *but for auth and base_url, not {'auth': 'a'}"),
        ('client={"base_url": 1}', "*mark.routera: *but for auth and base_url, not {*}"),
        ('host="0.0.0.0"', "*mark.routera: the sandbox listens on loopback only: *"),
        ('client={"timeout": 0}', "*mark.routera: timeout must be *"),
        ('client={"timeouts": 1}', "*mark.routera: *unexpected keyword argument 'timeouts'*"),
    ],
)
def test_a_wrong_mark_is_told_in_one_line(project, mark, told):
    """A mark that cannot be is an error of the test that has it, without a traceback."""
    source = f"""
@pytest.mark.routera({mark})
def test_it(routera_client):
    pass
"""
    result = project(HEAD + source)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([told])
    result.stdout.no_fnmatch_line("*pytest_plugin.py:*")


def test_without_the_extra(project, pytester):
    """Who has not installed what the sandbox needs is told what to install."""
    pytester.makeconftest("import sys\nsys.modules['jwt'] = None\n")
    result = project("def test_it(routera_client):\n    pass\n")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        ["the sandbox needs more: pip install 'routera-async[[]sandbox]'"], consecutive=True
    )
    result.stdout.no_fnmatch_line("*pytest_plugin.py:*")


def test_another_module_that_is_missing_is_no_extra(project, pytester):
    """What is missing for another reason is shown as it is."""
    pytester.makeconftest("import sys\nsys.modules['aiohttp.http'] = None\n")
    result = project("def test_it(routera_sandbox):\n    pass\n")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["E *ModuleNotFoundError: *aiohttp.http*"])


def test_it_is_found_and_tells_its_mark(project):
    """The distribution names the plugin, and `pytest --markers` tells the mark."""
    (found,) = entry_points(group="pytest11", name="routera_async")
    assert found.value == "routera_async.pytest_plugin"
    result = project("", "--markers")
    result.stdout.fnmatch_lines(["@pytest.mark.routera(faults=(), client={}, [*][*]settings): *"])


def test_it_loads_nothing_until_it_is_used(project):
    """A project that has it installed and uses none of it imports nothing for it."""
    source = """
import sys

def test_it():
    ours = {name for name in sys.modules if name.startswith("routera_async")}
    assert ours <= {f"routera_async{name}" for name in ("", "._version", ".pytest_plugin")}
    assert not {"aiohttp", "attrs", "cattrs", "jwt", "orjson", "tenacity"} & set(sys.modules)
"""
    passes(project(source), 1)
