"""Reads settings from mappings and files in Overseer's spelling, and checks them against the fields of a dataclass.

The dataclass is the only source of names, types and defaults. Law: an unknown name or an invalid value is rejected with
its path, and an unknown name also with the most similar name.
"""

from __future__ import annotations

import logging
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from difflib import get_close_matches
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Final, NamedTuple, Union, get_args, get_origin, get_type_hints

from factstore import quoted
from overseer.errors import ConfigError
from overseer.retry import Retry, exponential

log = logging.getLogger("overseer")

# Settings of Overseer without a counterpart: a worker follows the log, always has a heartbeat, and ends when that
# fails.
WITHOUT_EFFECT: Final[Mapping[str, type]] = {
    "detector_sleep_time": float,
    "heartbeat_enabled": bool,
    "heartbeat_monitor_shutdown": bool,
    "store_adapter": str,
}
# The names of the store's uri in two generations of Overseer.
_ALIASES: Final[Mapping[str, str]] = {"datomic_uri": "store", "store_config_uri": "store", "store_uri": "store"}


_MAX_DEPTH: Final = 10  # of nested sections


class Setting(NamedTuple):
    """A setting: its field, its path as it was written, and its value."""

    name: str  # of the field
    path: str  # with the sections
    value: Any


def checked_settings(given: Mapping[str, Any], of: type, *, source: str | None = None) -> dict[str, Any]:
    """Return keywords for a dataclass of settings from a mapping.

    Sections may be nested, and names may have hyphens or underscores.

    Args:
        given: such as `{"store": "jobs.facts", "heartbeat": {"sleep-time": 5000}}`.
        of: the dataclass.
        source: the file of the mapping, for errors.
    Raises: ConfigError for a name that does not exist or occurs twice, and for a value of the wrong type.
    """
    if not isinstance(given, Mapping):
        raise _wrong(f"settings are a table, got {quoted(given)}, which is {_kind_of(given)}", source)
    kinds = get_type_hints(of)
    names = {field.name for field in fields(of)}
    values: dict[str, Any] = {}
    paths: dict[str, str] = {}
    for setting in _flat(given, names, source):
        name = _ALIASES.get(setting.name, setting.name)
        kind = WITHOUT_EFFECT.get(name) or kinds.get(name)
        if kind is None or name not in names | set(WITHOUT_EFFECT):
            raise _unknown(setting, sorted(names), source)
        if name in paths:
            raise _wrong(f"{setting.path} and {paths[name]} are the same setting", source, setting=setting.path)
        paths[name] = setting.path
        value = _checked(setting, kind, source)
        if name in WITHOUT_EFFECT:
            log.info(
                "the setting %s has no effect: it belongs to a part of Overseer that this worker does not have",
                setting.path,
            )
        else:
            values[name] = value
    return values


def read_settings(path: str | Path) -> dict[str, Any]:
    """Return the settings in a file: TOML if its suffix is .toml, YAML if it is .yaml or .yml.

    Raises: ConfigError with the file, and the line of a syntax error.
    """
    if not isinstance(path, str | Path):
        raise _wrong(f"expected the path of a settings file, got {quoted(path)}", None, path=path)
    file = Path(path)
    parse = _PARSERS.get(file.suffix.lower())
    if parse is None:
        raise _wrong(
            f"{path} cannot be read: the suffix of a settings file is one of {', '.join(_PARSERS)}",
            None,
            path=str(path),
        )
    try:
        settings = parse(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise _wrong(f"{path} cannot be read: {error}", None, path=str(path)) from error
    if not isinstance(settings, Mapping):
        raise _wrong(f"{path} is not a table of settings, but {_kind_of(settings)}", None, path=str(path))
    return dict(settings)


def _parse_yaml(text: str) -> Any:
    try:
        import yaml
    except ImportError:
        raise ConfigError(
            ":job.error/missing-package", "to read YAML, install factstore[yaml]", package="pyyaml"
        ) from None
    try:
        return yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error


_PARSERS: Final[Mapping[str, Callable[[str], Any]]] = {
    ".toml": tomllib.loads,
    ".yaml": _parse_yaml,
    ".yml": _parse_yaml,
}


def _flat(
    given: Mapping[str, Any], names: set[str], source: str | None, above: Sequence[str] = ()
) -> Iterator[Setting]:
    """Yield the settings of a mapping. A mapping in it is a section, unless the value of its setting is a mapping."""
    if len(above) > _MAX_DEPTH:
        raise _wrong(f"{'.'.join(above)[:80]}… is nested deeper than any setting", source)
    for key, value in given.items():
        words = [*above, _named(key).removeprefix(":")]
        name = "_".join(words).replace("-", "_").replace(".", "_")
        # `store` is a field, and also a section in Overseer.
        is_section = isinstance(value, Mapping) and (name not in names or name == "store")
        if is_section:
            yield from _flat(value, names, source, words)
        else:
            yield Setting(name, ".".join(words), value)


def _unknown(setting: Setting, names: Sequence[str], source: str | None) -> ConfigError:
    spelled = {name.replace("_", "-"): name for name in (*names, *WITHOUT_EFFECT)}
    near = get_close_matches(setting.name.replace("_", "-"), spelled, n=1)
    meant = (
        f"; did you mean {near[0]}?"
        if near
        else f"; the settings are {', '.join(name.replace('_', '-') for name in names)}"
    )
    return _wrong(f"no setting is called {setting.path}{meant}", source, setting=setting.path)


def _wrong(why: str, source: str | None, **data: Any) -> ConfigError:
    return ConfigError(":job.error/bad-config", f"{source}: {why}" if source else why, **data)


# -- types

_NAMES: Final[Mapping[Any, str]] = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    NoneType: "nothing",
    Mapping: "a table",
    Sequence: "a list",
    Callable: "a function",
}


def kind_in_words(kind: Any) -> str:
    """Return the name of a type for people."""
    if get_origin(kind) in (Union, UnionType):
        return " or ".join(kind_in_words(part) for part in get_args(kind) if part is not NoneType)
    return _NAMES.get(get_origin(kind) or kind, getattr(kind, "__name__", str(kind)))


def _checked(setting: Setting, kind: Any, source: str | None) -> Any:
    if get_origin(kind) is Mapping and get_args(kind)[-1] is Retry and isinstance(setting.value, Mapping):
        return {
            type: _retry(f"{setting.path}.{_named(type)}", policy, source) for type, policy in setting.value.items()
        }
    if not _is_of(setting.value, kind):
        why = (
            f"{setting.path} is {kind_in_words(kind)}, got {quoted(setting.value)}, which is {_kind_of(setting.value)}"
        )
        raise _wrong(why, source, setting=setting.path, value=setting.value)
    for part, of in _parts(setting, kind):
        _checked(part, of, source)
    return setting.value


def _parts(setting: Setting, kind: Any) -> Iterator[tuple[Setting, Any]]:
    """Yield the elements of a table or a list of settings, with the type that they must have."""
    kinds = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    for part in kinds:
        of = get_args(part)[-1:] if get_origin(part) in (Mapping, Sequence) else ()
        if of and isinstance(setting.value, get_origin(part)) and not isinstance(setting.value, str):
            pairs = setting.value.items() if isinstance(setting.value, Mapping) else enumerate(setting.value)
            yield from ((Setting(setting.name, f"{setting.path}.{_named(key)}", value), of[0]) for key, value in pairs)


def _is_of(value: Any, kind: Any) -> bool:
    """Return whether a value is of a type. Its elements are not checked, and neither are types that are no classes."""
    origin = get_origin(kind) or kind
    if getattr(origin, "_is_protocol", False):
        return callable(value)  # a listener
    if origin in (Union, UnionType):
        return any(_is_of(value, part) for part in get_args(kind))
    if isinstance(value, bool) and origin in (int, float):
        return False
    if origin is float:
        return isinstance(value, int | float)
    if origin is Sequence and isinstance(value, str):
        return False
    return isinstance(value, origin) if isinstance(origin, type) else True


def _named(key: Any) -> str:
    return key if isinstance(key, str) else quoted(key)


def _kind_of(value: Any) -> str:
    return next((word for kind, word in _NAMES.items() if type(value) is kind), type(value).__name__)


class _Pauses(NamedTuple):
    """A retry policy in a settings file. Times are in milliseconds."""

    max_attempts: int = 1
    first: float = 1000
    factor: float = 2
    longest: float = 3_600_000
    jitter: float = 0.2


def _retry(path: str, given: Any, source: str | None) -> Retry:
    if isinstance(given, Retry):
        return given
    if not isinstance(given, Mapping):
        raise _wrong(f"{path} is a table of {', '.join(_Pauses._fields)}, got {quoted(given)}", source, setting=path)
    kinds, values = get_type_hints(_Pauses), {}
    for key, value in given.items():
        setting = Setting(_named(key).replace("-", "_"), f"{path}.{_named(key)}", value)
        if setting.name not in kinds:
            raise _unknown(setting, _Pauses._fields, source)
        values[setting.name] = _checked(setting, kinds[setting.name], source)
    policy = _Pauses(**values)
    try:
        backoff = exponential(policy.first / 1000, factor=policy.factor, longest=policy.longest / 1000)
        return Retry(policy.max_attempts, backoff, jitter=policy.jitter)
    except (ValueError, ArithmeticError) as error:
        raise _wrong(f"{path}: {error}", source, setting=path) from error
