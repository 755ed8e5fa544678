"""One job type, declared by a function: its transactions, its handler, and the types of its arguments and result."""

from __future__ import annotations

import copy
import functools
import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, make_dataclass
from datetime import datetime, timedelta
from pickle import PicklingError
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, TypeVar

import factstore
from factstore import Keyword
from overseer.errors import HandlerError, OverseerError
from overseer.handler import Handler
from overseer.jobs.job import Job
from overseer.jobs.txns import job_txn
from overseer.retry import NEVER, Retry
from overseer.times import Duration, duration
from overseer.typed.parameters import Parameter, hints_of, parameters_of
from overseer.typed.ref import JobRef
from overseer.typed.returns import returns_of

if TYPE_CHECKING:
    from factstore import Connection

P = ParamSpec("P")
R = TypeVar("R")  # the result
C = TypeVar("C")  # the value of a direct call: the result, or a coroutine


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The attributes of a job that are not arguments of its function, as in `job_txn`."""

    id: str | None = None
    queue: str | None = None
    priority: int | None = None
    partition: str | None = None
    run_at: datetime | None = None
    timeout: timedelta | None = None


class TypedJob(Generic[P, R, C]):
    """A job type, made by `App.job` from a function. Calling it calls the function, without any store.

    Args:
        function: takes the job and the arguments.
        type: the job type.
        retry: the retry policy of its handler.
        timeout: the maximum duration of an attempt.
        options: of each of its jobs.
        install: declares the attributes of the app in a store.
    """

    __name__: str
    __qualname__: str

    def __init__(
        self,
        function: Callable[Concatenate[Job, P], C],
        type: Keyword,
        *,
        retry: Retry,
        timeout: timedelta | None,
        options: Options,
        install: Callable[[Connection], None],
    ) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self.type = type
        self.parameters: tuple[Parameter, ...] = parameters_of(function, type)
        self.returns = returns_of(hints_of(function).get("return"))
        self.retry = retry
        self.timeout = timeout
        self._options = options
        self._install = install
        self._signature = _without_job(function)

    def __call__(self, job: Job, /, *args: P.args, **kwargs: P.kwargs) -> C:
        """Call the function."""
        return self.function(job, *args, **kwargs)

    def __repr__(self) -> str:
        return f"<TypedJob {self.type}>"

    def _repr_html_(self) -> str:
        about = {"function": self.function.__qualname__, "arguments": str(self._signature)}
        return factstore.rendering.html_record(f"Typed job {self.type}", about)

    def __reduce__(self) -> tuple[Any, ...]:
        module, name = self.function.__module__, self.function.__qualname__
        if "<locals>" in name:
            raise PicklingError(f"the function of {self.type} is defined in another function, so it cannot be imported")
        return _restored, (module, name, self._options)

    def options(
        self,
        *,
        id: str | None = None,
        queue: str | None = None,
        priority: int | None = None,
        partition: str | None = None,
        run_at: datetime | None = None,
        timeout: Duration | None = None,
    ) -> TypedJob[P, R, C]:
        """Return the same job type with other options for its jobs, as in `job_txn`; None changes nothing."""
        o = self._options
        limit = o.timeout if timeout is None else duration(timeout, what="a timeout")
        return _with_options(
            self,
            Options(
                id=o.id if id is None else id,
                queue=o.queue if queue is None else queue,
                priority=o.priority if priority is None else priority,
                partition=o.partition if partition is None else partition,
                run_at=o.run_at if run_at is None else run_at,
                timeout=limit,
            ),
        )

    def __copy__(self) -> TypedJob[P, R, C]:
        other: TypedJob[P, R, C] = object.__new__(self.__class__)
        other.__dict__.update(self.__dict__)
        return other

    def txn(self, *args: P.args, **kwargs: P.kwargs) -> dict[str, Any]:
        """Return the assertion of a new job; transact it together with the facts that it belongs to.

        Law: it equals `job_txn` of the same type, options and attributes.

        Raises: OverseerError(:job.error/bad-argument) for arguments that the function does not take, and for one of
            another type than its annotation.
        """
        o = self._options
        return job_txn(
            self.type,
            self._attributes(args, kwargs),
            id=o.id,
            queue=o.queue,
            priority=o.priority,
            partition=o.partition,
            run_at=o.run_at,
            timeout=o.timeout,
        )

    def enqueue(self, conn: Connection, /, *args: P.args, **kwargs: P.kwargs) -> JobRef[R]:
        """Commit a new job in a transaction of its own, and return it. The attributes are declared if necessary."""
        job = self.txn(*args, **kwargs)
        self._install(conn)
        conn.transact([job])
        return self.ref(conn, job[":job/id"])

    def ref(self, conn: Connection, id: str) -> JobRef[R]:
        """Return the job with this id, whose type must be this one."""
        return JobRef(conn, id, self.returns.value_of)

    def results_in(self, job: Job) -> list[R]:
        """Return the results of the jobs of this type that a job depends on, in order of their ids."""
        return [self.returns.decoded(value) for value in job.results_of(self.type)]

    def result_in(self, job: Job) -> R:
        """Return the result of the only job of this type that a job depends on.

        Raises: OverseerError(:job.error/no-result) unless there is exactly one.
        """
        result: R = self.returns.decoded(job.result_of(self.type))
        return result

    def schema(self) -> list[dict[str, Any]]:
        """Return the declarations of the attributes of its arguments."""
        shape = make_dataclass("Arguments", [(one.name, one.declared) for one in self.parameters])
        return factstore.schema_of(shape)

    @property
    def handler(self) -> Handler:
        """The handler of its jobs."""
        process = _AsyncProcess(self) if inspect.iscoroutinefunction(self.function) else _Process(self)
        handler: dict[str, Any] = {"process": process}
        if self.retry is not NEVER:
            handler["retry"] = self.retry
        if self.timeout is not None:
            handler["timeout"] = self.timeout
        return handler

    def _attributes(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        try:
            given = self._signature.bind(*args, **kwargs).arguments
        except TypeError as error:
            why = f"the arguments of {self.type} are wrong: {error}; it takes {self._signature}"
            raise OverseerError(":job.error/bad-argument", why, type=self.type) from None
        forms = {
            one.attribute: one.form_of(given[one.name], self.type)
            for one in self.parameters
            if one.name in given and not (one.optional and given[one.name] is None)
        }
        return {attribute: form for attribute, form in forms.items() if form != []}

    def _arguments(self, job: Job) -> dict[str, Any]:
        """Return the arguments for the function in the attributes of a job."""
        missing = [one for one in self.parameters if not one.is_in(job) and not one.has_default and not one.optional]
        if missing:
            names = ", ".join(one.attribute for one in missing)
            why = f"{self.type} {job.id} lacks {names}, which its function needs"
            raise OverseerError(":job.error/bad-argument", why, job=job.id, missing=[one.name for one in missing])
        given = {one.name: one.value_in(job, self.type) for one in self.parameters if one.is_in(job)}
        absent = {one.name: None for one in self.parameters if one.optional and not one.is_in(job)}
        return {**absent, **given}


def _without_job(function: Callable[..., Any]) -> inspect.Signature:
    signature = inspect.signature(function)
    return signature.replace(
        parameters=list(signature.parameters.values())[1:], return_annotation=inspect.Signature.empty
    )


@dataclass(frozen=True, slots=True)
class _Process:
    """The stage `process` of a handler; it can be pickled if the function can be imported."""

    of: TypedJob[Any, Any, Any]

    def __call__(self, job: Job) -> Any:
        return self.of.returns.kept(self.of.function(job, **self.of._arguments(job)), self.of.type)


@dataclass(frozen=True, slots=True)
class _AsyncProcess:
    """The same for a coroutine function."""

    of: TypedJob[Any, Any, Any]

    async def __call__(self, job: Job) -> Any:
        return self.of.returns.kept(await self.of.function(job, **self.of._arguments(job)), self.of.type)


def _restored(module: str, name: str, options: Options) -> TypedJob[Any, Any, Any]:
    found = functools.reduce(getattr, name.split("."), importlib.import_module(module))
    if not isinstance(found, TypedJob):
        why = f"{module}.{name} is no typed job, so it cannot be found in another process"
        raise HandlerError(":job.error/bad-handler", why, name=name)
    return found if found._options == options else _with_options(found, options)


def _with_options(job: TypedJob[Any, Any, Any], options: Options) -> TypedJob[Any, Any, Any]:
    other = copy.copy(job)
    other._options = options
    return other
