"""OpenTelemetry: each attempt is a span around its handler, linked to the spans of its parents and of its creation.

A span cannot be a child of several spans, and should not be a child of one that ended days ago. So attempts are traces
of their own, with links. The span of the attempt that finished a job is stored with the job as `:job/trace`, in W3C's
format.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

from overseer.errors import OverseerError, Verdict
from overseer.events import Around, Attempt, Event
from overseer.jobs import lookup

TRACE: Final = ":job/trace"  # the span of the attempt that finished the job
ENQUEUED_IN: Final = ":job/trace-parent"  # the span in which the job was created


def _api() -> Any:
    try:
        from opentelemetry import trace
    except ImportError:
        why = "for traces, install factstore[otel] and an SDK that sends them"
        raise OverseerError(":job.error/missing-package", why, package="opentelemetry-api") from None
    return trace


class Tracing:
    """A listener that surrounds handlers with spans, which contain the spans of the handler itself.

    Args:
        provider: creates tracers; None is the application's global provider.
    Raises: OverseerError(:job.error/missing-package) without opentelemetry-api.
    """

    def __init__(self, provider: Any = None) -> None:
        self._trace = _api()
        self._tracer = self._trace.get_tracer("overseer", tracer_provider=provider)

    def __call__(self, event: Event, /) -> None:
        """Do nothing: the spans are created around handlers."""

    @contextmanager
    def around(self, job: Attempt, /) -> Iterator[None]:
        """Run a handler in a span."""
        trace, lease = self._trace, job.lease
        queue = job.attributes.get(":job/queue")
        attributes = {
            "messaging.system": "overseer",
            "messaging.operation.type": "process",
            "messaging.message.id": lease.id,
            "messaging.destination.name": str(queue or lease.type),
            "overseer.job.type": str(lease.type),
            "overseer.job.attempt": lease.attempt,
            "overseer.worker": lease.worker,
        }
        kind, links = trace.SpanKind.CONSUMER, [trace.Link(context) for context in _linked(job)]
        with self._tracer.start_as_current_span(
            f"process {lease.type}",
            kind=kind,
            attributes=attributes,
            links=links,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield
            except BaseException as error:
                if not (isinstance(error, Verdict) and error.suppress):
                    span.set_status(trace.Status(trace.StatusCode.ERROR, str(error)))
                span.record_exception(error)
                raise
            if span.is_recording():
                job.assert_([":db/add", lease.job, TRACE, as_text(span.get_span_context())])

    def elsewhere(self, job: Attempt, /) -> Around:
        """Return a function that makes the attempt's span the current one in the other process."""
        return partial(_continued, as_text(self._trace.get_current_span().get_span_context()))


@contextmanager
def _continued(text: str, job: Attempt) -> Iterator[None]:
    """Make a span of the worker's process the parent of the handler's spans in this process."""
    trace, context = _api(), from_text(text)
    if context is None:
        yield
        return
    with trace.use_span(trace.NonRecordingSpan(context), record_exception=False, set_status_on_exception=False):
        yield


def trace_parent() -> dict[str, str]:
    """Return job arguments that contain the current span: `graph_txns(graph, {**arguments, **trace_parent()})`."""
    context = _api().get_current_span().get_span_context()
    return {ENQUEUED_IN: as_text(context)} if context.is_valid else {}


def _linked(job: Attempt) -> Iterator[Any]:
    texts = [job.attributes.get(ENQUEUED_IN)]
    texts += [lookup.value(job.db, parent, TRACE) for parent in lookup.parents(job.db, job.lease.job)[:_MAX_LINKS]]
    contexts = (from_text(text) for text in texts if text)
    return (context for context in contexts if context is not None)


_MAX_LINKS: Final = 128  # of a span; SDKs drop further ones


def as_text(context: Any) -> str:
    """Return a span's context in W3C's format: version, trace, span and flags, in hexadecimal digits."""
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"


def from_text(text: str) -> Any:
    """Return the context of a span from a text of `as_text`; None for any other text."""
    trace = _api()
    parts = text.split("-")
    if len(parts) != 4 or [len(part) for part in parts] != [2, 32, 16, 2]:
        return None
    try:
        trace_id, span_id, flags = (int(part, 16) for part in parts[1:])
    except ValueError:
        return None
    context = trace.SpanContext(trace_id, span_id, is_remote=True, trace_flags=trace.TraceFlags(flags))
    return context if context.is_valid else None
