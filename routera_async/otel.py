"""OpenTelemetry: a span for each call and each attempt, `traceparent`, and metrics.

    RouteraClient(..., hooks=[OtelHook()])

It needs opentelemetry-api alone (the extra `otel`), and without an SDK that an application sets up
it does next to nothing. The names are those of the HTTP semantic conventions, 1.43, where they have
one: https://opentelemetry.io/docs/specs/semconv/http/. An attempt is the conventions' client span;
the call around it is none, for there is to be one for each request that is sent.
"""

from collections.abc import Mapping
from time import monotonic
from typing import Any
from urllib.parse import quote, urlsplit

import attrs

from ._version import __version__
from .events import (
    AttemptFinished,
    AttemptStarted,
    Event,
    RequestFinished,
    RequestStarted,
)

try:
    from opentelemetry import propagate
    from opentelemetry.context import Context
    from opentelemetry.metrics import MeterProvider, get_meter, get_meter_provider
    from opentelemetry.trace import (
        Span,
        SpanKind,
        StatusCode,
        TracerProvider,
        get_current_span,
        get_tracer,
        get_tracer_provider,
        set_span_in_context,
    )
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "routera_async.otel needs more: pip install 'routera-async[otel]'", name=error.name
    ) from error

__all__ = ["OtelHook"]

SCHEMA = "https://opentelemetry.io/schemas/1.43.0"
"""Which conventions the names are of."""

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
"""In seconds: what the conventions advise for `http.client.request.duration`."""

_LOOK_AGAIN = 1.0
"""Seconds after which to look again whether an SDK was set up: to look costs a µs."""

_OF_THE_API = ("opentelemetry.trace", "opentelemetry.metrics")

_FAILED = 400

Attributes = dict[str, str | int]


@attrs.frozen
class _Target:
    """Where the calls of one kind go, in attributes; made once for each kind."""

    method: str
    route: str | None
    origin: str
    attributes: Attributes

    @property
    def name(self) -> str:
        return f"{self.method} {self.route}" if self.route else self.method

    def full(self, path: str) -> str:
        """Return the URL of a path, without its query."""
        return self.origin + quote(path, safe="/:@!$&'()*+,;=~")


@attrs.define
class _Traced:
    """A call under way, and its attempt.

    `parent` is None when nobody traces: then no attempt has a span either.
    """

    target: _Target
    span: Span
    parent: Context | None
    attempt: Span | None = None


class OtelHook:
    """A hook that makes spans and metrics of what it is told, and sends `traceparent`.

    The providers are the global ones unless told, and may be set up later than the hook is made:
    that is seen within a second. One hook may watch many clients. A call is a child of the span
    that is current where it is made; no attribute holds a body, a header, a token or a query, and
    no baggage is sent.
    """

    def __init__(
        self,
        *,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
    ) -> None:
        self._tracer = get_tracer(__package__, __version__, tracer_provider, SCHEMA)
        meter = get_meter(__package__, __version__, meter_provider, SCHEMA)
        self._duration = meter.create_histogram(
            "http.client.request.duration",
            unit="s",
            description="Duration of HTTP client requests.",
            explicit_bucket_boundaries_advisory=BUCKETS,
        )
        self._active = meter.create_up_down_counter(
            "http.client.active_requests",
            unit="{request}",
            description="Number of active HTTP requests.",
        )
        self._retries = meter.create_counter(
            "routera.client.retries",
            unit="{request}",
            description="Number of requests that were not their call's first.",
        )
        self._calls = meter.create_histogram(
            "routera.client.call.duration",
            unit="s",
            description="Duration of calls, with their waiting, attempts and pauses.",
            explicit_bucket_boundaries_advisory=BUCKETS,
        )
        self._live = tracer_provider is not None or meter_provider is not None
        self._look_at = 0.0
        self._targets: dict[tuple[str, str | None, str], _Target] = {}
        self._traced: dict[int, _Traced] = {}

    def listens(self) -> bool:
        """Return whether a provider does anything, or a context is to be passed on."""
        if not self._live and (now := monotonic()) >= self._look_at:
            self._look_at = now + _LOOK_AGAIN
            self._live = not (_is_idle(get_tracer_provider()) and _is_idle(get_meter_provider()))
        return self._live or get_current_span().get_span_context().is_valid

    def __call__(self, event: Event, /) -> None:
        """Take note of an event."""
        if isinstance(event, RequestStarted):
            self._begin(event)
        elif isinstance(event, AttemptStarted | AttemptFinished | RequestFinished):
            traced = self._traced.get(event.call)
            if traced is None:  # it began before the hook was there
                return
            if isinstance(event, AttemptStarted):
                self._send(event, traced)
            elif isinstance(event, AttemptFinished):
                self._met(event, traced)
            else:
                self._end(event, traced)

    def headers(self, event: AttemptStarted, /) -> Mapping[str, str]:
        """Return an attempt's `traceparent`, or what the global propagator has in its place."""
        carrier: dict[str, str] = {}
        traced = self._traced.get(event.call)
        if traced is not None and traced.attempt is not None:
            context = set_span_in_context(traced.attempt, Context())  # without the baggage
            propagate.inject(carrier, context)
        return carrier

    def _begin(self, event: RequestStarted) -> None:
        if not self.listens():
            return
        target = self._target(event)
        span = self._tracer.start_span(
            f"routera {target.name}", kind=SpanKind.INTERNAL, attributes=target.attributes
        )
        parent = set_span_in_context(span) if span.get_span_context().is_valid else None
        self._traced[event.call] = _Traced(target, span, parent)

    def _send(self, event: AttemptStarted, traced: _Traced) -> None:
        target = traced.target
        self._active.add(1, target.attributes)
        if event.number > 1:
            self._retries.add(1, target.attributes)
        if traced.parent is None:
            return
        told: Attributes = {"url.full": target.full(event.path), **target.attributes}
        if event.number > 1:
            told["http.request.resend_count"] = event.number - 1
        traced.attempt = self._tracer.start_span(
            target.name, context=traced.parent, kind=SpanKind.CLIENT, attributes=told
        )

    def _met(self, event: AttemptFinished, traced: _Traced) -> None:
        span, traced.attempt = traced.attempt, None
        told: Attributes = {}
        if event.status is not None:
            told["http.response.status_code"] = event.status
        if event.error is not None:
            told["error.type"] = event.error.partition(":")[0]
        elif event.status is not None and event.status >= _FAILED:
            told["error.type"] = str(event.status)
        self._active.add(-1, traced.target.attributes)
        self._duration.record(event.elapsed, {**traced.target.attributes, **told})
        if span is not None:
            _close(span, {**told, "routera.sent": event.sent}, failed="error.type" in told)

    def _end(self, event: RequestFinished, traced: _Traced) -> None:
        del self._traced[event.call]
        told: Attributes = {"routera.outcome": event.outcome}
        if event.error is not None:
            told["error.type"] = event.error
        self._calls.record(event.elapsed, {**traced.target.attributes, **told})
        told["routera.attempts"] = event.attempts
        _close(traced.span, told, failed=event.error is not None)

    def _target(self, event: RequestStarted) -> _Target:
        kind = (event.method, event.route, event.base_url)
        target = self._targets.get(kind)
        if target is None:
            target = self._targets[kind] = _target_of(*kind)
        return target


def _target_of(method: str, route: str | None, base_url: str) -> _Target:
    base = urlsplit(base_url)
    attributes: Attributes = {
        "http.request.method": method,
        "server.address": base.hostname or "",
        "server.port": base.port or (443 if base.scheme == "https" else 80),
    }
    if route is not None:
        attributes["url.template"] = route
    return _Target(method, route, f"{base.scheme}://{base.netloc}", attributes)


def _is_idle(provider: TracerProvider | MeterProvider) -> bool:
    """Tell whether a provider is the API's own, which do nothing."""
    return type(provider).__module__.startswith(_OF_THE_API)


def _close(span: Span, told: Mapping[str, Any], *, failed: bool) -> None:
    if span.is_recording():
        span.set_attributes(told)
        if failed:
            span.set_status(StatusCode.ERROR)
    span.end()
