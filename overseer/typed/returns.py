"""What becomes of the value that the function of a typed job returns, by its return annotation.

    None, or no annotation   nothing: the function returns None
    Facts                    transaction data, committed together with the end of the job
    overseer.Result          a value and transaction data
    any other type           the result of the job

Law: no value is dropped. A value of another type than the annotated one fails the job.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, NamedTuple, TypeAlias, get_origin

import factstore
from factstore import Keyword, quoted
from overseer.errors import HandlerError, OverseerError
from overseer.jobs.job import Result
from overseer.typed.codecs import Codec, Mismatch, codec
from overseer.typed.parameters import type_name

_FACTS: Final = "A return annotation: the function returns transaction data, a list of forms, for the end of its job."

Facts: TypeAlias = Annotated[Sequence[Any], _FACTS]


class Returns(NamedTuple):
    """What a function returns."""

    kind: str  # "nothing", "facts", "result object" or "value"
    codec: Codec

    def kept(self, returned: Any, of: Keyword) -> list[Any] | Result | None:
        """Return the value of a handler for the value of the function. Raises: HandlerError(:job.error/bad-return)."""
        if self.kind == "nothing" and returned is None:
            return None
        if self.kind == "facts" and isinstance(returned, list | tuple):
            return list(returned)
        if self.kind == "result object" and isinstance(returned, Result):
            return returned
        if self.kind == "value":
            try:
                return Result(self.codec.encode(returned))
            except Mismatch as error:
                raise _bad(f"the result of {of} is wrong: {error}", returned) from error
        raise _bad(f"the function of {of} {_EXPECTED[self.kind]}, got {_described(returned)}", returned)

    def value_of(self, stored: str | None) -> Any:
        """Return the result of a finished job for its `:job/result`. Raises: OverseerError(:job.error/bad-result)."""
        if self.kind == "facts":
            return []
        if stored is None and self.kind == "nothing":
            return None
        return self.decoded(None if stored is None else factstore.edn.read(stored))

    def decoded(self, plain: Any) -> Any:
        """Return the value of the function for the value in a result. Raises: OverseerError(:job.error/bad-result)."""
        try:
            return self.codec.decode(plain)
        except Mismatch as error:
            why = f"the stored result is not one of this function: {error}"
            raise OverseerError(":job.error/bad-result", why, got=plain) from error


_EXPECTED: Final = {
    "nothing": "has no return annotation other than None, so it returns None: annotate it with the type of its result, "
    "or with overseer.Facts",
    "facts": "returns facts, which are a list of forms",
    "result object": "returns an overseer.Result",
}


def _described(returned: Any) -> str:
    hint = f"; did you mean [{quoted(returned)}]?" if isinstance(returned, Mapping) else ""
    return f"{quoted(returned)}, a {type_name(returned)}{hint}"


def _bad(why: str, returned: Any) -> HandlerError:
    return HandlerError(":job.error/bad-return", why, returned=type_name(returned))


def returns_of(hint: Any) -> Returns:
    """Return what a return annotation means. Raises: HandlerError(:job.error/bad-annotation)."""
    anything = codec(Any)
    if hint is None or hint is type(None):
        return Returns("nothing", anything)
    if get_origin(hint) is Annotated and _FACTS in hint.__metadata__:
        return Returns("facts", anything)
    if hint is Result:
        return Returns("result object", anything)
    return Returns("value", codec(hint))
