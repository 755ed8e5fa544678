"""The arguments of a function as attributes of jobs.

A parameter `to` of the job type `:mail/send` is the attribute `:mail.send/to`. An argument of a scalar type is a fact
of its value type. A set of scalars is an attribute of cardinality many. Any other argument is text, as EDN, because an
attribute of cardinality many keeps neither order nor repetition. An argument that is None is no fact, and neither is an
argument that is left out: the function's own default applies when the job runs.
"""

from __future__ import annotations

import dataclasses
import inspect
import types
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, NamedTuple, Union, get_args, get_origin, get_type_hints

import factstore
from factstore import Attr, FactStoreError, Keyword, quoted
from overseer.errors import HandlerError, OverseerError
from overseer.typed.codecs import SCALARS, Codec, Mismatch, codec

_MISSING: Final = inspect.Parameter.empty
_PASSED: Final = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


class Parameter(NamedTuple):
    """One argument of a typed job."""

    name: str
    attribute: str
    codec: Codec
    as_edn: bool  # whether it is stored as the text of an EDN value
    many: bool  # whether it is a set, whose members are facts
    optional: bool  # whether None is one of its values
    has_default: bool
    declared: Any  # the annotation for `schema_of`

    def form_of(self, value: Any, of: Keyword) -> Any:
        """Return the value of its attribute. Raises: OverseerError(:job.error/bad-argument)."""
        try:
            plain = self.codec.encode(value)
            return factstore.edn.write(plain) if self.as_edn else plain
        except (Mismatch, FactStoreError) as error:
            why = f"the argument {self.name} of {of} is wrong: {error}"
            raise OverseerError(":job.error/bad-argument", why, argument=self.name, got=value) from error

    def is_in(self, job: Mapping[str, Any]) -> bool:
        """Return whether the attributes of a job determine the argument: an empty set is no fact."""
        return self.attribute in job or (self.many and not self.has_default and not self.optional)

    def value_in(self, job: Mapping[str, Any], of: Keyword) -> Any:
        """Return its value in the attributes of a job. Raises: OverseerError(:job.error/bad-argument)."""
        stored = job.get(self.attribute, ())
        try:
            return self.codec.decode(factstore.edn.read(stored) if self.as_edn else stored)
        except (Mismatch, FactStoreError, TypeError) as error:
            why = f"{self.attribute} is no argument {self.name} of {of}: {error}"
            raise OverseerError(":job.error/bad-argument", why, argument=self.name, got=stored) from error


def parameters_of(function: Callable[..., Any], type: Keyword) -> tuple[Parameter, ...]:
    """Return the arguments of a function after the first one, which is the job.

    Raises: HandlerError(:job.error/bad-annotation), for the parameter that cannot be an argument.
    """
    given = list(inspect.signature(function).parameters.values())
    if not given or given[0].kind not in (*_PASSED[:1], inspect.Parameter.POSITIONAL_ONLY):
        raise _bad(f"the function of the job type {type} takes the job as its first argument", type)
    hints = hints_of(function)
    return tuple(_parameter(one, hints.get(one.name, _MISSING), type) for one in given[1:])


def namespace_of(type: str) -> str:
    """Return the namespace of the attributes of a job type.

    >>> namespace_of(":mail/send")
    'mail.send'
    """
    return type.removeprefix(":").replace("/", ".")


def attribute_of(type: str, name: str) -> str:
    """Return the attribute of an argument of a job type.

    >>> attribute_of("mail/send", "reply_to")
    ':mail.send/reply-to'
    """
    return f":{namespace_of(type)}/{name.replace('_', '-')}"


def hints_of(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the annotations of a function, except that of the job. Raises: HandlerError(:job.error/bad-annotation)."""
    job = next(iter(inspect.signature(function).parameters), None)
    written = {name: hint for name, hint in function.__annotations__.items() if name != job}
    try:
        return get_type_hints(
            types.SimpleNamespace(__annotations__=written), vars(inspect.getmodule(function)), include_extras=True
        )
    except Exception as error:  # an annotation that is text may be any code
        name = getattr(function, "__qualname__", function)
        why = f"the annotations of {name} cannot be evaluated in its module: {type_name(error)}: {error}"
        raise HandlerError(":job.error/bad-annotation", why, function=name) from error


def type_name(value: object) -> str:
    """Return the name of the type of a value."""
    return type(value).__name__


def _parameter(given: inspect.Parameter, hint: Any, type: Keyword) -> Parameter:
    if given.kind not in _PASSED:
        raise _bad(f"the parameter {given} of {type} is not passed by name, so it cannot be an argument of a job", type)
    if hint is _MISSING:
        raise _bad(
            f"the parameter {given.name} of {type} needs an annotation, from which its attribute is declared", type
        )
    attr, hint = _attr_of(hint)
    hint, optional = without_none(hint)
    if optional and given.default not in (_MISSING, None):
        why = f"the parameter {given.name} of {type} may be None, so its default is None, got {quoted(given.default)}"
        raise _bad(f"{why}: an argument None is no fact, as if it were left out", type)
    attribute = attr.ident or attribute_of(type, given.name)
    many = attr.type is None and get_origin(hint) in (set, frozenset) and get_args(hint)[0] in SCALARS
    as_edn = attr.type is None and not many and hint not in SCALARS
    declared: Any = Annotated[str if as_edn else hint, dataclasses.replace(attr, ident=attribute)]
    try:
        way = codec(Any if attr.type is not None else hint)
    except HandlerError as error:
        raise _bad(f"the parameter {given.name} of {type} has no attribute: {error.message}", type) from error
    has_default = given.default is not _MISSING
    if many and has_default and not optional and given.default:
        why = f"the parameter {given.name} of {type} has the default {quoted(given.default)}"
        raise _bad(f"{why}, and a job keeps no empty set that could replace it", type)
    return Parameter(given.name, attribute, way, as_edn, many, optional, has_default, declared)


def _attr_of(hint: Any) -> tuple[Attr, Any]:
    """Return the Attr of an annotation and the annotation without it."""
    if get_origin(hint) is not Annotated:
        return Attr(), hint
    inner, *notes = get_args(hint)
    return next((note for note in notes if isinstance(note, Attr)), Attr()), inner


def without_none(hint: Any) -> tuple[Any, bool]:
    """Return an annotation without its arm None, and whether it had one."""
    if get_origin(hint) not in (Union, types.UnionType) or types.NoneType not in get_args(hint):
        return hint, False
    arms = [arm for arm in get_args(hint) if arm is not types.NoneType]
    return Union[tuple(arms)], True  # noqa: UP007 - of arms that are known at run time only


def _bad(why: str, type: Keyword) -> HandlerError:
    return HandlerError(":job.error/bad-annotation", why, type=type)
