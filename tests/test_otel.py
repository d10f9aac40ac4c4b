"""Spans and metrics as docs/observability.md says, in the OpenTelemetry SDK's own exporters."""

import asyncio
import importlib
import re
import subprocess
import sys
from pathlib import Path

import attrs
import pytest
from opentelemetry import baggage, context, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.semconv.schemas import Schemas
from opentelemetry.trace import SpanKind, StatusCode

from routera_async import NotSentError, RetryPolicy, RouteraClient, RouteraError
from routera_async.otel import BUCKETS, SCHEMA, OtelHook
from routera_async.sandbox import Fault

PAGE = Path(__file__).parents[1] / "docs" / "observability.md"
AT_ONCE = RetryPolicy(wait_initial=0, max_attempts=3)


class Telemetry:
    """An SDK of its own that keeps what it is given."""

    def __init__(self, **settings):
        self._exporter = InMemorySpanExporter()
        self._reader = InMemoryMetricReader()
        tracing = TracerProvider(**settings)
        tracing.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer = tracing.get_tracer("the application")
        self.hook = OtelHook(tracer_provider=tracing, meter_provider=MeterProvider([self._reader]))

    @property
    def spans(self):
        """The spans that have ended, by when they began."""
        return sorted(self._exporter.get_finished_spans(), key=lambda span: span.start_time)

    def metrics(self):
        """Return the points of each metric, by their names."""
        told = self._reader.get_metrics_data()
        (resource,) = told.resource_metrics
        (scope,) = resource.scope_metrics
        return {metric.name: metric for metric in scope.metrics}

    def points(self, name):
        """Return the points of one metric: their attributes, and their values or counts."""
        points = self.metrics()[name].data.data_points
        return [
            (dict(point.attributes), getattr(point, "count", None) or getattr(point, "value", None))
            for point in points
        ]


@pytest.fixture
def telemetry():
    """Keep what is told to an SDK."""
    return Telemetry()


@pytest.fixture
async def traced(sandbox, telemetry):
    """Return a client of the sandbox that is traced, and does not wait."""
    settings = {"base_url": sandbox.url, "retry": AT_ONCE, "hooks": [telemetry.hook]}
    async with RouteraClient(sandbox.token, **settings) as client:
        yield client


def target(sandbox, **more):
    """Return the attributes of whatever a create is told by."""
    return {
        "http.request.method": "POST",
        "url.template": "/tickets",
        "server.address": "127.0.0.1",
        "server.port": int(sandbox.url.rpartition(":")[2]),
        **{name.replace("__", "."): value for name, value in more.items()},
    }


async def test_the_spans_of_a_call_with_two_retries(sandbox, traced, telemetry, new):
    """A span for the call, and one below it for each attempt, with the conventions' attributes."""
    sandbox.faults.script("error_before_commit", Fault("error_before_commit", status=503))
    with telemetry.tracer.start_as_current_span("the request") as ours:
        await traced.tickets.create(new)
    ours, call, *attempts = telemetry.spans
    url = {"url.full": f"{sandbox.url}/tickets"}
    assert (call.name, call.kind) == ("routera POST /tickets", SpanKind.INTERNAL)
    assert dict(call.attributes) == target(sandbox) | {
        "routera.outcome": "created",
        "routera.attempts": 3,
    }
    assert [(span.name, span.kind) for span in attempts] == [("POST /tickets", SpanKind.CLIENT)] * 3
    sent = target(sandbox) | url | {"routera.sent": True}
    assert [dict(span.attributes) for span in attempts] == [
        sent | {"http.response.status_code": 500, "error.type": "500"},
        sent
        | {
            "http.response.status_code": 503,
            "error.type": "503",
            "http.request.resend_count": 1,
        },
        sent | {"http.response.status_code": 201, "http.request.resend_count": 2},
    ]
    assert [span.status.status_code for span in (call, *attempts)] == [
        StatusCode.UNSET,
        StatusCode.ERROR,
        StatusCode.ERROR,
        StatusCode.UNSET,
    ]
    assert call.parent.span_id == ours.context.span_id
    assert {span.parent.span_id for span in attempts} == {call.context.span_id}
    assert {span.context.trace_id for span in attempts} == {ours.context.trace_id}
    assert call.instrumentation_scope.name == "routera_async"
    assert call.end_time >= attempts[-1].end_time


async def test_the_metrics_of_a_call_with_two_retries(sandbox, traced, telemetry, new):
    """Each attempt and each call is measured; at the end none is under way."""
    sandbox.faults.script(*["error_before_commit"] * 2)
    await traced.tickets.create(new)
    common = target(sandbox)
    failed = common | {"http.response.status_code": 500, "error.type": "500"}
    assert telemetry.points("http.client.request.duration") == [
        (failed, 2),
        (common | {"http.response.status_code": 201}, 1),
    ]
    assert telemetry.points("http.client.active_requests") == [(common, 0)]
    assert telemetry.points("routera.client.retries") == [(common, 2)]
    assert telemetry.points("routera.client.call.duration") == [
        (common | {"routera.outcome": "created"}, 1)
    ]
    metrics = telemetry.metrics()
    for name in ("http.client.request.duration", "routera.client.call.duration"):
        (point, *_) = metrics[name].data.data_points
        assert (point.explicit_bounds, metrics[name].unit) == (BUCKETS, "s")


async def test_each_attempt_sends_its_own_context(wires, telemetry, flat, new, token):
    """`traceparent` names the attempt's span, so that a server's span is below it."""
    wire = await wires.serve(wires.answer(500), wires.answer(201, flat))
    settings = {"base_url": wire.url, "retry": AT_ONCE, "hooks": [telemetry.hook]}
    async with RouteraClient(token, **settings) as client:
        outside = context.attach(baggage.set_baggage("customer", "canary"))
        await client.tickets.create(new)
        context.detach(outside)
    _, *attempts = telemetry.spans
    expected = [
        f"traceparent: 00-{each.trace_id:032x}-{each.span_id:016x}-{each.trace_flags:02x}"
        for each in (span.context for span in attempts)
    ]
    found = [re.search(rb"traceparent: \S+", head)[0].decode() for head in wire.requests]
    assert found == expected
    assert not any(b"canary" in head for head in wire.requests)


async def test_calls_of_a_gather_are_below_their_caller(sandbox, traced, telemetry, new):
    """Each of many concurrent calls is a child of the span that was current where it was made."""

    async def one(number):
        with telemetry.tracer.start_as_current_span(f"row {number}") as row:
            await traced.tickets.create(attrs.evolve(new, external_id=f"ext-{number}"))
        return row.context

    with telemetry.tracer.start_as_current_span("all") as whole:
        rows = await asyncio.gather(*map(one, range(20)))
    calls = [span for span in telemetry.spans if span.name == "routera POST /tickets"]
    attempts = [span for span in telemetry.spans if span.name == "POST /tickets"]
    assert sorted(span.parent.span_id for span in calls) == sorted(row.span_id for row in rows)
    assert sorted(span.parent.span_id for span in attempts) == sorted(
        span.context.span_id for span in calls
    )
    assert {span.context.trace_id for span in attempts} == {whole.context.trace_id}


async def failing(telemetry, url, token, new, **settings):
    """Make a call that fails; return its span and those of its attempts."""
    settings = {"base_url": url, "retry": AT_ONCE, "hooks": [telemetry.hook]} | settings
    async with RouteraClient(token, **settings) as client:
        with pytest.raises(RouteraError):
            await client.tickets.create(new)
    call, *attempts = telemetry.spans
    assert call.status.status_code is StatusCode.ERROR
    assert {span.status.status_code for span in attempts} <= {StatusCode.ERROR}
    return call, attempts


@pytest.mark.parametrize(
    ("fault", "outcome", "error", "attempt"),
    [
        ("reset_after_commit", "unknown", "OutcomeUnknown", "ClientOSError"),
        ("disconnect_after_commit", "unknown", "OutcomeUnknown", "ServerDisconnectedError"),
        ("bad_json", "created", None, None),
        ("truncated_answer", "created", "ResponseError", "ClientPayloadError"),
    ],
)
async def test_a_lost_answer_has_its_outcome(
    sandbox, telemetry, unkeyed, fault, outcome, error, attempt
):
    """What is proven of a call is an attribute, and what its attempt met is the attempt's."""
    sandbox.faults.script(fault)
    settings = {"base_url": sandbox.url, "hooks": [telemetry.hook]}
    async with RouteraClient(sandbox.token, **settings) as client:
        with pytest.raises(RouteraError):
            await client.tickets.create(unkeyed)
    call, sent = telemetry.spans
    told = dict(call.attributes)
    assert (told["routera.outcome"], told.get("error.type")) == (outcome, error)
    assert sent.attributes.get("error.type") == attempt
    assert sent.attributes["routera.sent"] is True
    (point,) = telemetry.points("routera.client.call.duration")
    assert point[0]["routera.outcome"] == outcome


async def test_a_call_that_cannot_be_sent(telemetry, token, new):
    """A server that cannot be reached is an error without a status, and nothing was sent."""
    call, attempts = await failing(telemetry, "http://127.0.0.1:1", token, new)
    assert call.attributes["routera.outcome"] == "not_sent"
    assert call.attributes["error.type"] == NotSentError.__name__
    assert len(attempts) == 3
    for span in attempts:
        assert span.attributes["error.type"] == "ClientConnectorError"
        assert span.attributes["routera.sent"] is False
        assert "http.response.status_code" not in span.attributes


async def test_a_call_that_is_refused_has_no_attempt(telemetry, wires, token, new):
    """A call that ends in the queue is a span without one below it."""
    wire = await wires.serve(wires.HANG)
    settings = {"base_url": wire.url, "max_connections": 1, "max_waiting": 0}
    async with RouteraClient(token, **settings, hooks=[telemetry.hook]) as client:
        first = asyncio.create_task(client.tickets.create(new))
        await wire.arrived.wait()
        with pytest.raises(RouteraError):
            await client.tickets.create(new)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
    ends = [
        (span.attributes["routera.outcome"], span.attributes["error.type"])
        for span in telemetry.spans
        if span.kind is SpanKind.INTERNAL
    ]
    assert sorted(ends) == [("not_sent", "Overloaded"), ("unknown", "cancelled")]
    (attempt,) = (span for span in telemetry.spans if span.kind is SpanKind.CLIENT)
    assert attempt.attributes["error.type"] == "cancelled"
    assert telemetry.hook._traced == {}


async def test_a_deadline_is_no_cancellation(telemetry, wires, token, new):
    """An attempt that its call's own deadline has ended is told as one that timed out."""
    wire = await wires.serve(wires.HANG)
    settings = {"base_url": wire.url, "deadline": 0.1, "hooks": [telemetry.hook]}
    async with RouteraClient(token, **settings) as client:
        with pytest.raises(RouteraError):
            await client.tickets.create(new)
    assert {span.kind: span.attributes["error.type"] for span in telemetry.spans} == {
        SpanKind.INTERNAL: "OutcomeUnknown",
        SpanKind.CLIENT: "TimeoutError",
    }


async def test_an_id_is_in_no_name_and_in_no_metric(traced, telemetry, sandbox):
    """What has an id is the URL alone; a path that the client does not know has no template."""
    with pytest.raises(RouteraError):
        await traced.tickets.get("mü")
    with pytest.raises(RouteraError):
        await traced.request("GET", "/notes/17", params={"q": "canary"})
    known, attempt, unknown, other = telemetry.spans
    assert [known.name, attempt.name] == ["routera GET /tickets/{id}", "GET /tickets/{id}"]
    assert [unknown.name, other.name] == ["routera GET", "GET"]
    assert attempt.attributes["url.full"] == f"{sandbox.url}/tickets/m%C3%BC"
    assert other.attributes["url.full"] == f"{sandbox.url}/notes/17"
    assert "url.template" not in other.attributes
    told = repr([telemetry.points(name) for name in telemetry.metrics()])
    assert "mü" not in told
    assert "17" not in re.sub(r"'server.port': \d+", "", told)


async def test_nothing_secret_is_told(wires, telemetry, token):
    """No body, header, token or query is in a span or in a metric."""
    body = f'{{"message": "canary {token}"}}'.encode()
    wire = await wires.serve(wires.answer(400, body, f"X-Canary: {token}"))
    async with RouteraClient(token, base_url=wire.url, hooks=[telemetry.hook]) as client:
        twin = client.with_options(headers={"X-Key": "canary"})
        with pytest.raises(RouteraError):
            await twin.request("POST", "/tickets", params={"q": "canary"}, json={"a": "canary"})
    seen = "".join(span.to_json() for span in telemetry.spans)
    seen += repr([telemetry.points(name) for name in telemetry.metrics()])
    assert len(telemetry.spans) == 2
    assert "canary" not in seen
    assert token[30:] not in seen


async def test_what_is_not_sampled_is_passed_on(wires, flat, new, token):
    """A call that is not sampled is no span, but its context is sent, marked as such."""
    telemetry = Telemetry(sampler=ALWAYS_OFF)
    wire = await wires.serve(wires.answer(201, flat))
    async with RouteraClient(token, base_url=wire.url, hooks=[telemetry.hook]) as client:
        await client.tickets.create(new)
    assert telemetry.spans == []
    flags = re.search(rb"traceparent: 00-\w{32}-\w{16}-(\w{2})\r", wire.requests[0])[1]
    assert int(flags, 16) & trace.TraceFlags.SAMPLED == 0


async def test_without_an_sdk_nothing_is_sent(wires, flat, new, token):
    """With the API alone no header is added, and no call is remembered when it has ended."""
    wire = await wires.serve(wires.answer(500), wires.answer(201, flat))
    hook = OtelHook()
    settings = {"base_url": wire.url, "retry": AT_ONCE, "hooks": [hook]}
    async with RouteraClient(token, **settings) as client:
        await client.tickets.create(new)
    assert not any(b"traceparent" in head for head in wire.requests)
    assert hook._traced == {}


async def test_without_an_sdk_a_context_is_passed_on(wires, flat, new, token):
    """With the API alone, the context of whoever called us is sent as it came."""
    wire = await wires.serve(wires.answer(201, flat))
    remote = trace.SpanContext(1, 2, is_remote=True, trace_flags=trace.TraceFlags(1))
    async with RouteraClient(token, base_url=wire.url, hooks=[OtelHook()]) as client:
        with trace.use_span(trace.NonRecordingSpan(remote)):
            await client.tickets.create(new)
    assert f"traceparent: 00-{1:032x}-{2:016x}-01\r\n".encode() in wire.requests[0]


def test_an_sdk_may_come_later():
    """The global providers are found when they are set up after the hook was made."""
    program = """if True:
        from opentelemetry import metrics, trace
        from opentelemetry.sdk.trace import TracerProvider
        from routera_async import RequestStarted, otel
        otel._LOOK_AGAIN = 0
        hook = otel.OtelHook()
        started = RequestStarted("GET", "/deals", 1, "/deals", "https://api.routera.io")
        hook(started)
        print(hook.listens(), len(hook._traced))
        metrics.set_meter_provider(metrics.NoOpMeterProvider())
        print(hook.listens(), len(hook._traced))
        trace.set_tracer_provider(TracerProvider())
        hook(started)
        print(hook.listens(), [each.span.is_recording() for each in hook._traced.values()])
    """
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert ended.stdout.decode().split("\n") == ["False 0", "False 0", "True [True]", ""]


async def test_beside_another_hook_an_idle_one_is_idle(sandbox, new):
    """With the API alone a call is remembered no more when another hook is told of it."""
    events, hook = [], OtelHook()
    settings = {"base_url": sandbox.url, "hooks": [hook, events.append]}
    async with RouteraClient(sandbox.token, **settings) as client:
        await client.tickets.create(new)
    assert len(events) == 4
    assert hook._traced == {}


async def test_a_hook_that_comes_later_breaks_nothing(sandbox, telemetry, new):
    """What belongs to a call whose beginning the hook has not heard is passed over."""
    hook = telemetry.hook

    def late(event):
        if type(event).__name__ != "RequestStarted":
            hook(event)

    async with RouteraClient(sandbox.token, base_url=sandbox.url, hooks=[late]) as client:
        await client.tickets.create(new)
    assert telemetry.spans == []


# -- the documentation ---------------------------------------------------------------------------


def table(header):
    """Return the rows of the page's table with this header, as lists of cells."""
    lines = PAGE.read_text("utf-8").partition(f"\n{header}\n")[2].partition("\n\n")[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1:]]


def attributes(header):
    """Return the names that a table of attributes begins its rows with."""
    return {ticked(row[0]).pop() for row in table(header)}


def ticked(cell):
    """Return what stands in backticks in a cell."""
    return set(re.findall(r"`([^`]+)`", cell))


async def everything(telemetry, sandbox, token, new):
    """Have every attribute told once."""
    settings = {"retry": AT_ONCE, "hooks": [telemetry.hook]}
    sandbox.faults.script("error_before_commit")
    async with RouteraClient(sandbox.token, base_url=sandbox.url, **settings) as client:
        await client.tickets.create(new)
        with pytest.raises(RouteraError):
            await client.tickets.get("none")
    async with RouteraClient(token, base_url="http://127.0.0.1:1", **settings) as client:
        with pytest.raises(RouteraError):
            await client.tickets.create(new)


async def test_the_page_names_every_attribute_of_a_span(telemetry, sandbox, token, new):
    """The page has each attribute that a span of a call or an attempt has, and no more."""
    await everything(telemetry, sandbox, token, new)
    both = attributes("| of both spans | value |")
    for kind, header in (
        (SpanKind.INTERNAL, "| of a call's | value |"),
        (SpanKind.CLIENT, "| of an attempt's | value |"),
    ):
        found = {name for span in telemetry.spans if span.kind is kind for name in span.attributes}
        assert found == both | attributes(header)


async def test_the_page_names_every_metric(telemetry, sandbox, token, new):
    """The page has each metric, with its unit and its attributes, and no more."""
    await everything(telemetry, sandbox, token, new)
    found = {
        name: (
            {metric.unit},
            {each for told, _ in telemetry.points(name) for each in told},
        )
        for name, metric in telemetry.metrics().items()
    }
    section = PAGE.read_text("utf-8").partition("\n## Metrics\n")[2].partition("\n\nBoth")[0]
    documented = {}
    for told in re.split(r"^- ", section, flags=re.MULTILINE)[1:]:
        metric, unit, *names = re.findall(r"`([^`]+)`", told)
        documented[metric] = ({unit}, set(names))
    assert found == documented


async def test_the_names_are_the_conventions(telemetry, sandbox, token, new):
    """Each name that is not our own is one of the semantic conventions, whose schema there is."""
    await everything(telemetry, sandbox, token, new)
    modules = (
        "attributes.error_attributes",
        "attributes.http_attributes",
        "attributes.server_attributes",
        "attributes.url_attributes",
        "metrics.http_metrics",
        "_incubating.attributes.url_attributes",
        "_incubating.metrics.http_metrics",
    )
    loaded = [importlib.import_module(f"opentelemetry.semconv.{name}") for name in modules]
    known = {value for module in loaded for value in vars(module).values() if type(value) is str}
    names = {*telemetry.metrics()} | {name for span in telemetry.spans for name in span.attributes}
    assert {name for name in names if not name.startswith("routera.")} <= known
    assert SCHEMA in {schema.value for schema in Schemas}


def test_without_the_api_it_says_what_to_install():
    """Where opentelemetry-api is missing, the import says which extra brings it."""
    program = "import sys; sys.modules['opentelemetry'] = None; import routera_async.otel"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert b"pip install 'routera-async[otel]'" in ended.stderr
