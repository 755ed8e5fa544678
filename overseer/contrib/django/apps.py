"""The application for INSTALLED_APPS, which adds `manage.py overseer`."""

from __future__ import annotations

from django.apps import AppConfig


class OverseerConfig(AppConfig):  # type: ignore[misc] # Django has no types
    """The application `overseer.contrib.django`; it has no models."""

    name = "overseer.contrib.django"
    label = "overseer"
    verbose_name = "Overseer"
