"""Settings as people write them: mappings and files in Overseer's spelling, checked against the fields of a dataclass.

The dataclass is the one source of names, types and defaults; this module knows none of them. Law: what is not understood is refused,
with the place where it stands and, for a name, the one that was most likely meant.
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

# Overseer's settings that have no counterpart: a worker is told of work by the log, and always beats, and ends when that fails.
WITHOUT_EFFECT: Final[Mapping[str, type]] = {
    "detector_sleep_time": float,
    "heartbeat_enabled": bool,
    "heartbeat_monitor_shutdown": bool,
    "store_adapter": str,
}
# Where Overseer's two generations keep the uri of the store.
_ALIASES: Final[Mapping[str, str]] = {"datomic_uri": "store", "store_config_uri": "store", "store_uri": "store"}


_MAX_SECTIONS: Final = 10  # within each other


class Setting(NamedTuple):
    """One setting: as it was spelled, with the sections it stands in, and its value."""

    name: str  # the field's
    path: str
    value: Any


def checked_settings(given: Mapping[str, Any], of: type, *, source: str | None = None) -> dict[str, Any]:
    """Return keywords for a dataclass of settings from a mapping; sections may nest, names be spelled with hyphens or underscores.

    Args:
        given: such as `{"store": "jobs.facts", "heartbeat": {"sleep-time": 5000}}`.
        of: the dataclass.
        source: where it comes from, for errors.
    Raises: ConfigError for a name that does not exist or stands there twice, and for a value of another type.
    """
    if not isinstance(given, Mapping):
        raise _wrong(f"settings are a table, got {quoted(given)}, which is {_kind_of(given)}", source)
    kinds = get_type_hints(of)
    names = {field.name for field in fields(of)}
    found: dict[str, Any] = {}
    paths: dict[str, str] = {}
    for setting in _flat(given, names, source):
        name = _ALIASES.get(setting.name, setting.name)
        kind = WITHOUT_EFFECT.get(name) or kinds.get(name)
        if kind is None or name not in names | set(WITHOUT_EFFECT):
            raise _unknown(setting, sorted(names), source)
        if name in paths:
            raise _wrong(f"{setting.path} says again what {paths[name]} says already", source, setting=setting.path)
        paths[name] = setting.path
        value = _checked(setting, kind, source)
        if name in WITHOUT_EFFECT:
            log.info(
                "the setting %s has no effect: it is for a part that Overseer had and this worker does without",
                setting.path,
            )
        else:
            found[name] = value
    return found


def read_settings(path: str | Path) -> dict[str, Any]:
    """Return what a file of settings says: TOML by the suffix .toml, YAML by .yaml or .yml.

    Raises: ConfigError naming the file, and the line of what cannot be read in it.
    """
    if not isinstance(path, str | Path):
        raise _wrong(f"expected the path of a file of settings, got {quoted(path)}", None, path=path)
    file = Path(path)
    parse = _PARSERS.get(file.suffix.lower())
    if parse is None:
        raise _wrong(f"{path} cannot be read: settings are kept in {', '.join(_PARSERS)}", None, path=str(path))
    try:
        found = parse(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise _wrong(f"{path} cannot be read: {error}", None, path=str(path)) from error
    if not isinstance(found, Mapping):
        raise _wrong(f"{path} is no table of settings, but {_kind_of(found)}", None, path=str(path))
    return dict(found)


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
    """Yield the settings of a mapping; one inside another is a section, unless a setting of that name takes a mapping itself."""
    if len(above) > _MAX_SECTIONS:
        raise _wrong(f"{'.'.join(above)[:80]}… is a section in a section, deeper than any setting", source)
    for key, value in given.items():
        words = [*above, _named(key).removeprefix(":")]
        name = "_".join(words).replace("-", "_").replace(".", "_")
        # `store` is a field, and in Overseer it is a section as well.
        is_section = isinstance(value, Mapping) and (name not in names or name == "store")
        if is_section:
            yield from _flat(value, names, source, words)
        else:
            yield Setting(name, ".".join(words), value)


def _unknown(setting: Setting, names: Sequence[str], source: str | None) -> ConfigError:
    spelled = {name.replace("_", "-"): name for name in (*names, *WITHOUT_EFFECT)}
    near = get_close_matches(setting.name.replace("_", "-"), spelled, n=1)
    meant = (
        f"; did you mean {near[0]}?" if near else f"; there are {', '.join(name.replace('_', '-') for name in names)}"
    )
    return _wrong(f"no setting is called {setting.path}{meant}", source, setting=setting.path)


def _wrong(why: str, source: str | None, **data: Any) -> ConfigError:
    return ConfigError(":job.error/bad-config", f"{source}: {why}" if source else why, **data)


# -- types

_WORDS: Final[Mapping[Any, str]] = {
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
    """Return a type as people say it."""
    if get_origin(kind) in (Union, UnionType):
        return " or ".join(kind_in_words(one) for one in get_args(kind) if one is not NoneType)
    return _WORDS.get(get_origin(kind) or kind, getattr(kind, "__name__", str(kind)))


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
    """Yield what is in a table or a list of settings, and the type that it has to have."""
    kinds = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    for one in kinds:
        of = get_args(one)[-1:] if get_origin(one) in (Mapping, Sequence) else ()
        if of and isinstance(setting.value, get_origin(one)) and not isinstance(setting.value, str):
            pairs = setting.value.items() if isinstance(setting.value, Mapping) else enumerate(setting.value)
            yield from ((Setting(setting.name, f"{setting.path}.{_named(key)}", value), of[0]) for key, value in pairs)


def _is_of(value: Any, kind: Any) -> bool:
    """Tell whether a value is of a type; what is inside it, and what is no class, is not looked at."""
    origin = get_origin(kind) or kind
    if getattr(origin, "_is_protocol", False):
        return callable(value)  # a listener
    if origin in (Union, UnionType):
        return any(_is_of(value, one) for one in get_args(kind))
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
    return next((word for kind, word in _WORDS.items() if type(value) is kind), type(value).__name__)


class _Pauses(NamedTuple):
    """How a file says a retry policy; times are in milliseconds."""

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
    kinds, found = get_type_hints(_Pauses), {}
    for key, value in given.items():
        setting = Setting(_named(key).replace("-", "_"), f"{path}.{_named(key)}", value)
        if setting.name not in kinds:
            raise _unknown(setting, _Pauses._fields, source)
        found[setting.name] = _checked(setting, kinds[setting.name], source)
    policy = _Pauses(**found)
    try:
        backoff = exponential(policy.first / 1000, factor=policy.factor, longest=policy.longest / 1000)
        return Retry(policy.max_attempts, backoff, jitter=policy.jitter)
    except (ValueError, ArithmeticError) as error:
        raise _wrong(f"{path}: {error}", source, setting=path) from error
