"""A registry of typed jobs, which is the mapping of handlers that workers take. It opens and imports nothing."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, TypeVar, overload
from weakref import WeakSet

import factstore
from factstore import Keyword, quoted
from overseer.errors import HandlerError
from overseer.handler import Handler
from overseer.jobs.job import Job, Result
from overseer.jobs.states import as_keyword
from overseer.jobs.store import install
from overseer.retry import NEVER, Retry
from overseer.times import Duration, duration
from overseer.typed.graphs import JobGraph
from overseer.typed.typed_job import Options, TypedJob

if TYPE_CHECKING:
    from factstore import Connection

P = ParamSpec("P")
R = TypeVar("R")


class Declares(Protocol):
    """A decorator that makes a typed job from a function or a coroutine function."""

    @overload
    def __call__(
        self, function: Callable[Concatenate[Job, P], Coroutine[Any, Any, Result]], /
    ) -> TypedJob[P, Any, Coroutine[Any, Any, Result]]: ...
    @overload
    def __call__(
        self, function: Callable[Concatenate[Job, P], Coroutine[Any, Any, R]], /
    ) -> TypedJob[P, R, Coroutine[Any, Any, R]]: ...
    @overload
    def __call__(self, function: Callable[Concatenate[Job, P], Result], /) -> TypedJob[P, Any, Result]: ...
    @overload
    def __call__(self, function: Callable[Concatenate[Job, P], R], /) -> TypedJob[P, R, R]: ...


class App(Mapping[str, Handler]):
    """The typed jobs of a program. It is a mapping from job type to handler: `Worker(conn, app)`.

    >>> app = App()
    >>> @app.job(queue="mail", retry=Retry(max_attempts=5), timeout="30s")
    ... def send(job: Job, to: str, subject: str = "") -> None: ...
    >>> send.options(id="m1").txn(to="ann@example.org")[":send/to"]
    'ann@example.org'
    >>> [attribute[":db/ident"] for attribute in app.schema()]
    [':send/to', ':send/subject']
    """

    def __init__(self) -> None:
        self._jobs: dict[Keyword, TypedJob[Any, Any, Any]] = {}
        self._handlers: dict[Keyword, Handler] = {}
        self._installed: WeakSet[Connection] = WeakSet()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_installed"}  # connections stay here

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _installed=WeakSet())

    def job(
        self,
        *,
        type: str | None = None,
        queue: str | None = None,
        priority: int | None = None,
        retry: Retry = NEVER,
        timeout: Duration | None = None,
    ) -> Declares:
        """Return a decorator that declares a job type by a function `(job, …) -> result`.

        The parameters after the job are the arguments of its jobs; each needs an annotation. The return annotation is
        the type of the result; `overseer.Facts` means transaction data.

        Args:
            type: the job type; None is the name of the function, with hyphens.
            queue: the queue of its jobs.
            priority: the priority of its jobs.
            retry: the retry policy.
            timeout: the maximum duration of an attempt, as a timedelta or a text such as "30s".
        Raises: HandlerError(:job.error/bad-annotation), HandlerError(:job.error/bad-handler).
        """
        limit = None if timeout is None else duration(timeout, what="a timeout")
        options = Options(queue=queue, priority=priority)

        def declare(function: Callable[..., Any], /) -> TypedJob[Any, Any, Any]:
            return self._add(function, type, retry, limit, options)

        return declare

    def _add(
        self, function: Any, type: str | None, retry: Retry, timeout: timedelta | None, options: Options
    ) -> TypedJob[Any, Any, Any]:
        if not hasattr(function, "__qualname__") or not callable(function) or isinstance(function, TypedJob):
            why = f"a typed job is declared by a function, got {quoted(function)}"
            raise HandlerError(":job.error/bad-handler", why, got=function)
        name = as_keyword(function.__name__.replace("_", "-") if type is None else type)
        before = self._jobs.get(name)
        if before is not None and _place_of(before.function) != _place_of(function):
            why = f"{_place_of(function)} declares the job type {name}, as does {_place_of(before.function)}"
            raise HandlerError(":job.error/bad-handler", why, type=name)
        job: TypedJob[Any, Any, Any] = TypedJob(
            function, name, retry=retry, timeout=timeout, options=options, install=self.install
        )
        self._jobs[name], self._handlers[name] = job, job.handler
        self._installed.clear()
        return job

    def schema(self) -> list[dict[str, Any]]:
        """Return the declarations of the attributes of all arguments, as transaction data."""
        return [form for job in self._jobs.values() for form in job.schema()]

    def install(self, conn: Connection) -> None:
        """Declare the attributes of jobs and of all arguments in a store, unless they are declared."""
        if conn in self._installed:
            return
        install(conn)
        db = conn.db()
        missing = [form for form in self.schema() if not _is_declared(db, form)]
        if missing:
            conn.transact(missing)
        self._installed.add(conn)

    def graph(self) -> JobGraph:
        """Return an empty graph of typed jobs."""
        return JobGraph(self.install)

    def __getitem__(self, type: str) -> Handler:
        return self._handlers[as_keyword(type)]

    def __iter__(self) -> Iterator[str]:
        return iter(self._handlers)

    def __len__(self) -> int:
        return len(self._handlers)

    def __repr__(self) -> str:
        return f"<App {' '.join(self._handlers)}>"

    def _repr_html_(self) -> str:
        return factstore.rendering.html_record(
            "App", {type: _place_of(job.function) for type, job in self._jobs.items()}
        )


def _place_of(function: Any) -> str:
    return f"{function.__module__}.{function.__qualname__}"


def _is_declared(db: Any, form: Mapping[str, Any]) -> bool:
    if db.entid(form[":db/ident"]) is None:
        return False
    declared = db.schema.attribute(form[":db/ident"])
    return bool(
        form[":db/valueType"] == f":db.type/{declared.value_type.name}"
        and declared.many == (form[":db/cardinality"] == ":db.cardinality/many")
    )
