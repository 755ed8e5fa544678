"""Settings: Overseer's names and defaults, ours, and what is refused."""

from __future__ import annotations

import sys
from contextlib import suppress
from dataclasses import fields
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from overseer import Config, ConfigError, start


def test_a_lease_lasts_thirty_seconds_unless_it_is_told_otherwise():
    assert timedelta(seconds=30) == Config().lease


def test_settings_are_read_in_overseers_spelling():
    heartbeat = {"enabled": True, "sleep-time": 60_000, "tolerance": 5}
    settings = {"store": "x", "sleep-time": 500, "detector-sleep-time": 2000, "heartbeat": heartbeat}
    assert Config(store="x", sleep_time=500, heartbeat_sleep_time=60_000, heartbeat_tolerance=5) == Config.of(settings)
    assert timedelta(minutes=5) == Config.of(settings).lease


def test_settings_are_read_from_a_toml_file(tmp_path):
    path = tmp_path / "overseer.toml"
    path.write_text('store = "jobs.facts"\nbatch = 8\n[heartbeat]\nsleep-time = 1000\n')
    assert Config(store="jobs.facts", batch=8, heartbeat_sleep_time=1000) == Config.read(path)


def test_a_setting_that_does_not_exist_is_named():
    with pytest.raises(ConfigError, match=r"no setting is called leese; the settings are batch, .*heartbeat-sleep-time"):
        Config.of({"leese": 3})


@pytest.mark.parametrize(
    ("wrong", "path", "meant"),
    [
        ({"sleep-tme": 1}, "sleep-tme", "sleep-time"),
        ({"heartbeat": {"toleranze": 3}}, "heartbeat.toleranze", "heartbeat-tolerance"),
        ({"max_crash": 3}, "max_crash", "max-crashes"),
        ({"retries": {":a": {"max-attempt": 3}}}, "retries.:a.max-attempt", "max-attempts"),
    ],
)
def test_a_misspelled_setting_is_named_with_its_place_and_the_name_that_was_meant(wrong, path, meant):
    with pytest.raises(ConfigError) as refused:
        Config.of(wrong)
    assert ":job.error/bad-config" == refused.value.code
    assert path == refused.value.setting
    assert f"no setting is called {path}; did you mean {meant}?" == refused.value.message


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"batch": "8"}, "batch is a whole number, got '8', which is text"),
        ({"batch": 2.5}, "batch is a whole number, got 2.5, which is a number"),
        ({"batch": True}, "batch is a whole number, got True, which is true or false"),
        ({"heartbeat": {"sleep-time": "10s"}}, "heartbeat.sleep-time is a number, got '10s', which is text"),
        ({"heartbeat": {"enabled": "yes"}}, "heartbeat.enabled is true or false, got 'yes', which is text"),
        ({"heartbeat": 3}, "no setting is called heartbeat"),
        ({"store": 3}, "store is text, got 3, which is a whole number"),
        ({"seed": "x"}, "seed is a whole number, got 'x', which is text"),
        ({"listeners": [3]}, "listeners.0 is Listener, got 3, which is a whole number"),
        ({"listeners": "all"}, "listeners is a list, got 'all', which is text"),
        ({"sentry": {"dsn": 3}}, "sentry.dsn is text, got 3, which is a whole number"),
        ({"retries": 3}, "retries is a table, got 3, which is a whole number"),
        ({"retries": {":a": 3}}, "retries.:a is a table of max_attempts, first, factor, longest, jitter, got 3"),
        ({"retries": {":a": {"first": "soon"}}}, "retries.:a.first is a number, got 'soon', which is text"),
        ({"retries": {":a": {"jitter": 2}}}, "retries.:a: jitter is a part of the pause, from 0 to 1; got 2"),
        ({"sleep-time": 1, "sleep_time": 2}, "sleep_time and sleep-time are the same setting"),
        ({"store": "a", "datomic": {"uri": "b"}}, "datomic.uri and store are the same setting"),
    ],
)
def test_a_value_of_another_type_is_refused_with_its_place(wrong, says):
    with pytest.raises(ConfigError) as refused:
        Config.of(wrong)
    assert refused.value.message.startswith(says)


def test_the_place_of_an_error_in_a_file_begins_with_the_file(tmp_path):
    path = tmp_path / "overseer.toml"
    path.write_text("[heartbeat]\nsleep-time = true\n")
    with pytest.raises(ConfigError, match=r"overseer\.toml: heartbeat\.sleep-time is a number, got True"):
        Config.read(path)


YAML = """
store: {adapter: lmdb, config: {uri: jobs.facts}}
detector-sleep-time: 2000
sleep-time: 10000
heartbeat: {enabled: true, sleep-time: 60000, tolerance: 5, monitor-shutdown: true}
retries:
  mail/send: {max-attempts: 5, first: 100, longest: 1000, jitter: 0}
"""


def test_settings_are_read_from_a_yaml_file_with_every_key_of_overseer(tmp_path):
    path = tmp_path / "config.yml"
    path.write_text(YAML)
    config = Config.read(path)
    assert "jobs.facts" == config.store
    assert 10_000 == config.sleep_time
    assert timedelta(minutes=5) == config.lease
    retry = config.retries["mail/send"]
    assert 5 == retry.max_attempts
    assert 0 == retry.jitter
    assert [0.1, 0.2, 0.4, 0.8, 1.0] == [retry.backoff(failed) for failed in range(1, 6)]


def test_the_older_overseers_file_is_read_too():
    assert Config(store="jobs.facts") == Config.of({"datomic": {"uri": "jobs.facts"}, "heartbeat": {"enabled": True}})


def test_a_setting_of_overseer_without_effect_is_said_to_have_none(caplog):
    caplog.set_level("INFO")
    Config.of({"detector-sleep-time": 2000})
    assert ["the setting detector-sleep-time has no effect"] == [record.message.partition(":")[0] for record in caplog.records]


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.toml", "batch = ", "cannot be read: "),
        ("a.yaml", "batch: [", "cannot be read: "),
        ("a.yaml", "- batch", "is not a table of settings, but list"),
        ("a.ini", "batch=1", "cannot be read: the suffix of a settings file is one of .toml, .yaml, .yml"),
    ],
)
def test_a_file_that_is_no_table_of_settings_is_refused_by_name(tmp_path, name, text, says):
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError) as refused:
        Config.read(tmp_path / name)
    assert f"{tmp_path / name} {says}" in refused.value.message


def test_an_empty_yaml_file_leaves_every_default(tmp_path):
    (tmp_path / "a.yaml").write_text("# nothing yet\n")
    assert Config() == Config.read(tmp_path / "a.yaml")


def test_reading_yaml_without_its_package_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "yaml", None)
    (tmp_path / "a.yaml").write_text("batch: 1\n")
    with pytest.raises(ConfigError, match=r"install factstore\[yaml\]"):
        Config.read(tmp_path / "a.yaml")


PLAIN = [field.name for field in fields(Config) if field.type in ("float", "int")]


@given(st.sampled_from(PLAIN), st.integers(1, 10**6), st.booleans())
def test_a_setting_means_the_same_in_every_spelling(name, value, hyphens):
    spelled = name.replace("_", "-") if hyphens else name
    section, underscore, rest = name.partition("_")
    expected = Config(**{name: value})
    assert [expected, expected] == [Config.of({spelled: value}), Config.of({f":{spelled}": value})]
    if underscore:
        assert expected == Config.of({section: {rest: value}})


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)
NAMES = st.sampled_from([*(field.name for field in fields(Config)), "heartbeat", "sleep-time", "tolerance", "datomic", "uri"]) | st.text(
    max_size=5
)


@pytest.mark.parametrize("setting", ["queues", "timeouts"])
@pytest.mark.parametrize("name", ["", "a b", 7, None])
def test_an_invalid_name_is_an_error_of_its_setting(setting, name):
    with pytest.raises(ConfigError, match=f"{setting} has an invalid name: expected a name such as mail") as raised:
        Config(**{setting: [name] if setting == "queues" else {name: 1}})
    assert raised.value.data["setting"] == setting


@example({"timeouts": {"": 0}})
@given(st.dictionaries(NAMES, VALUES | st.dictionaries(NAMES, VALUES, max_size=3), max_size=3))
def test_any_mapping_is_either_settings_or_a_config_error(mapping):
    with suppress(ConfigError):
        assert isinstance(Config.of(mapping), Config)


@pytest.mark.parametrize("name", ["batch", "sleep_time", "heartbeat_sleep_time", "heartbeat_tolerance", "max_crashes"])
def test_a_setting_that_cannot_mean_anything_is_refused(name):
    with pytest.raises(ConfigError, match=f"{name} is more than 0"):
        Config(**{name: 0})


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"missing\.toml cannot be read"):
        Config.read(tmp_path / "missing.toml")


def test_start_needs_a_store():
    with pytest.raises(ConfigError, match="store is required"):
        start({}, {":a": len})


def test_the_settings_that_the_documentation_shows_are_settings(tmp_path):
    page = (Path(__file__).parents[3] / "docs/how-to/deploy-workers.md").read_text()
    (tmp_path / "shop.toml").write_text(page.partition("```toml\n")[2].partition("```")[0])
    config = Config.read(tmp_path / "shop.toml")
    assert "/var/lib/shop/shop.facts" == config.store
    assert timedelta(seconds=30) == config.lease
    assert 5 == config.retries["mail/send"].max_attempts


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"concurrency": 0}, "concurrency is more than 0"),
        ({"concurrency": 2.5}, "concurrency is a whole number"),
        ({"batch": True}, "batch is a whole number"),
        ({"flush": -1}, "flush is 0 or more"),
        ({"queues": "mail"}, "queues is a list of names"),
        ({"timeouts": {":a": 0}}, "timeouts is by type more than 0"),
    ],
)
def test_settings_given_in_python_that_cannot_mean_anything_are_refused(wrong, says):
    with pytest.raises(ConfigError, match=says) as refused:
        Config(**wrong)
    assert next(iter(wrong)) == refused.value.setting
