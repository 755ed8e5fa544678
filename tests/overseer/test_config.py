"""Settings: Overseer's names and defaults, ours, and what is refused."""

from __future__ import annotations

from datetime import timedelta

import pytest

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
    with pytest.raises(ConfigError, match=r"no setting is called leese.*heartbeat_sleep_time"):
        Config.of({"leese": 3})


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
