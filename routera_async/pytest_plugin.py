"""The pytest plugin: a sandbox of its own, and a client of it, for each test that asks for them.

pytest reads this file at its start wherever the package is installed, so nothing of ours is
imported before a fixture is asked for. The fixtures are plain ones: the sandbox is served by a
thread of its own, and the client opens in whichever loop a test makes its first call, so that
pytest-asyncio in each of its modes, anyio's plugin and `asyncio.run` are all served alike.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

if TYPE_CHECKING:
    from .client import RouteraClient
    from .sandbox import Sandbox

_MARK = (
    "routera(faults=(), client={}, **settings): what routera_sandbox is made with, the faults that"
    " its next writes meet, and what routera_client is made with"
)


def pytest_configure(config: pytest.Config) -> None:
    """Register the mark, for --strict-markers and --markers."""
    config.addinivalue_line("markers", _MARK)


@pytest.fixture
def routera_settings() -> dict[str, Any]:
    """Return what every test's mark `routera` begins with: nothing. Override it in a conftest.py.

    Its keys are the mark's: `faults`, `client`, and the arguments of `Sandbox`.
    """
    return {}


@pytest.fixture
def _routera_told(
    request: pytest.FixtureRequest, routera_settings: dict[str, Any]
) -> dict[str, Any]:
    """Return the settings of this test: of one name, the mark that is nearest to it says it."""
    told = dict(routera_settings)
    for mark in reversed(list(request.node.iter_markers("routera"))):
        if mark.args:
            _refuse(f"its arguments have names: faults=[...], not {mark.args[0]!r}")
        told |= mark.kwargs
    return told


@pytest.fixture
def routera_sandbox(_routera_told: dict[str, Any]) -> Iterator["Sandbox"]:
    """Serve a sandbox for this test alone, as the mark `routera` says, in a thread of its own."""
    try:
        from .sandbox import Sandbox, SandboxError  # noqa: PLC0415 (loaded when it is used)
    except ModuleNotFoundError as error:
        if error.name != "jwt":  # what the extra brings
            raise
        pytest.fail("the sandbox needs more: pip install 'routera-async[sandbox]'", pytrace=False)
    settings = {name: told for name, told in _routera_told.items() if name != "client"}
    faults = settings.pop("faults", ())
    if isinstance(faults, str) or not isinstance(faults, Iterable):
        _refuse(f"faults is a list: write faults=[{faults!r}]")
    with ExitStack() as running:
        try:
            sandbox = running.enter_context(Sandbox(**settings))
            sandbox.faults.script(*faults)
        except (TypeError, ValueError, SandboxError) as error:
            _refuse(str(error))
        yield sandbox


@pytest.fixture
def routera_client(
    routera_sandbox: "Sandbox", _routera_told: dict[str, Any]
) -> Iterator["RouteraClient"]:
    """Return a client of the test's sandbox, which sends again at once instead of waiting.

    It is closed when the test ends.
    """
    from .client import RouteraClient  # noqa: PLC0415 (loaded when it is used)
    from .errors import ConfigurationError  # noqa: PLC0415
    from .retries import RetryPolicy  # noqa: PLC0415

    at_once = RetryPolicy(wait_initial=0, retry_after_max=0)
    own = _routera_told.get("client", {})
    if not isinstance(own, Mapping) or {"auth", "base_url"} & own.keys():
        _refuse(f"client holds RouteraClient's arguments but for auth and base_url, not {own!r}")
    settings = {"retry": at_once, **own}
    try:
        client = RouteraClient(routera_sandbox.token, base_url=routera_sandbox.url, **settings)
    except (TypeError, ConfigurationError) as error:
        _refuse(str(error))
    yield client
    client._session.close_from_outside()  # noqa: SLF001 (it is one of our own)


def _refuse(why: str) -> NoReturn:
    pytest.fail(f"@pytest.mark.routera: {why}", pytrace=False)
