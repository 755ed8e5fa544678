"""Python data as bytes: what tx-data, tempids and the data of errors consist of.

The values of the store are encoded as in the log (`columns/packing.py`); tuples, sets and instants are extensions, too,
so that a form and an error have the same types on both sides. Decoding makes data only, never calls code, and fails on
anything else.
Law: `unpack(pack(x)) == x`, with the same types, for data of these types.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

import msgpack  # type: ignore[import-untyped]
from pyrsistent import pmap

from factstore.columns import packing
from factstore.errors import StorageError
from factstore.schema.class_fields import Described, is_instance, map_of
from factstore.values.quoting import quoted
from factstore.values.types import INSTANT, micros_to_instant, plain

# Extension codes after those of stored values; both sides of a connection have them.
_TUPLE: Final = 32
_SET: Final = 33
_FROZENSET: Final = 34
_INSTANT: Final = 35
_PMAP: Final = 36  # a map that can be in a set
_INSTANCE: Final = 37  # of a dataclass: [number in the message] or [number, map form]

_PMAP_TYPE: Final[type] = type(pmap())
_UNENCODABLE: Final = (OverflowError, RecursionError, TypeError, ValueError)


class _Packers(threading.local):
    """The packers of a thread; making one costs more than a small message."""

    def __init__(self) -> None:
        self.data = _packer(_extend)
        self.shown = _packer(_extend_or_show)
        self.instances: dict[int, tuple[int, Any]] = {}  # of the message: id → number, and the instance itself


def _packer(extend: Callable[[Any], Any]) -> Any:
    # strict_types: a Keyword is a str, and must not be packed as one.
    return msgpack.Packer(default=extend, strict_types=True, buf_size=4096)


def pack(value: Any) -> bytes:
    """Return data as bytes. Raises: TypeError for any other object."""
    packer = _packers.data
    try:
        packed: bytes = packer.pack(value)
    except _UNENCODABLE as error:
        packer.reset()
        raise TypeError(str(error)) from error
    finally:
        _packers.instances.clear()
    return packed


def pack_or_show(value: Any) -> bytes:
    """Return data as bytes, with the text of any other object instead of it."""
    packer = _packers.shown
    try:
        packed: bytes = packer.pack(value)
    except _UNENCODABLE:  # too deep, or with itself inside
        packer.reset()
        packed = packer.pack(quoted(value))
    finally:
        _packers.instances.clear()
    return packed


def unpack(body: bytes | memoryview) -> Any:
    """Return the packed data. Raises: StorageError(:db.error/invalid-frame)."""
    try:
        return _read(body)
    except Exception as error:  # reading bytes is no fault of this process, however wrong they are
        text = f"a message cannot be read: {type(error).__name__}: {error}"
        raise StorageError(":db.error/invalid-frame", text) from error
    finally:
        _reading.instances.clear()


def _extend(value: Any) -> Any:
    """Return a value that msgpack lacks as an extension, or as a simpler value."""
    kind = type(value)
    if kind is tuple:
        return msgpack.ExtType(_TUPLE, _packer(_extend).pack(list(value)))
    if kind is datetime:
        return msgpack.ExtType(_INSTANT, value.isoformat().encode())
    if kind is set or kind is frozenset:
        return msgpack.ExtType(_SET if kind is set else _FROZENSET, _packer(_extend).pack(list(value)))
    simple = plain(value)
    if simple is not value:
        return simple
    if is_instance(value):
        return msgpack.ExtType(_INSTANCE, _instance(value))
    if kind is _PMAP_TYPE:
        return msgpack.ExtType(_PMAP, _packer(_extend).pack(dict(value)))
    if isinstance(value, Mapping) and not hasattr(value, "eid"):  # an entity is no map
        return dict(value)
    if isinstance(value, list):
        return list(value)
    if isinstance(value, tuple):
        return tuple(value)
    if isinstance(value, datetime):
        return micros_to_instant(INSTANT.store(value))
    return packing.extend(value)


def _extend_or_show(value: Any) -> Any:
    if type(value) in (tuple, set, frozenset):
        code = _TUPLE if type(value) is tuple else _SET if type(value) is set else _FROZENSET
        return msgpack.ExtType(code, _packer(_extend_or_show).pack(list(value)))
    try:
        return _extend(value)
    except Exception:  # of an object of any class
        return quoted(value)


def _instance(instance: Any) -> bytes:
    """Return the number of an instance in its message, with its map form where it occurs first."""
    instances = _packers.instances
    known = instances.get(id(instance))
    if known is not None:
        return _packer(_extend).pack([known[0]])  # type: ignore[no-any-return]
    instances[id(instance)] = number, _ = len(instances), instance
    return _packer(_extend).pack([number, map_of(instance)])  # type: ignore[no-any-return]


class _Reading(threading.local):
    """What a thread has read of its message."""

    def __init__(self) -> None:
        self.instances: dict[int, Described] = {}  # by their number


def _read(body: bytes | memoryview) -> Any:
    return msgpack.unpackb(body, use_list=True, ext_hook=_recall, strict_map_key=False)


def _recall(code: int, data: bytes) -> Any:
    """Return the value of an extension."""
    stored = packing.READERS.get(code)
    if stored is not None:
        return stored(data)
    if code == _INSTANT:
        return datetime.fromisoformat(data.decode())
    if code == _INSTANCE:
        return _described(data)
    return _COLLECTIONS[code](_read(data))


def _described(data: bytes) -> Described:
    # The number first: the map can contain the instance itself.
    number = msgpack.Unpacker()
    number.feed(data)
    number.read_array_header()
    instance = _reading.instances.setdefault(number.unpack(), Described({}))
    fields = _read(data)
    if len(fields) > 1:
        instance.form = _checked(fields[1], dict)
    return instance


def _checked(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise ValueError(f"expected a {kind.__name__}")
    return value


_COLLECTIONS: Final[Mapping[int, Callable[[Any], Any]]] = {
    _TUPLE: lambda items: tuple(_checked(items, list)),
    _SET: lambda items: set(_checked(items, list)),
    _FROZENSET: lambda items: frozenset(_checked(items, list)),
    _PMAP: lambda items: pmap(_checked(items, dict)),
}
_packers: Final = _Packers()
_reading: Final = _Reading()
