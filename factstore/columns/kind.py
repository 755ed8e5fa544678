"""The kind of a column: how numpy keeps its values, and how they are ordered."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from factstore.values.types import TUPLE, VALUE_TYPES, Stored, order_key

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

OrderKey: TypeAlias = Callable[[Stored], Any] | None


class Kind(NamedTuple):
    """The numpy dtype of a column of values, and the key function that orders the values."""

    dtype: str  # "i8", "f8", "?" or "O"
    order_key: OrderKey = None  # None: the values have an order of their own

    @property
    def numpy_dtype(self) -> np.dtype[Any]:
        """The dtype as an object of numpy."""
        import numpy as np  # not at the top: the direct way of transactions uses kinds without numpy

        return np.dtype(object) if self.dtype == "O" else np.dtype(self.dtype)


def plain_kind(values: NDArray[Any]) -> Kind:
    """Return the kind of an array of values that have an order of their own."""
    return OBJECTS if values.dtype == object else Kind(values.dtype.str)


INTEGERS: Final = Kind("i8")
OBJECTS: Final = Kind("O")  # values with an order of their own
# By the ident of the value type. Tuples are ordered by a key because their slots can be None.
KINDS: Final = {
    ident: Kind(value_type.dtype, order_key if value_type is TUPLE else None)
    for ident, value_type in VALUE_TYPES.items()
}
