"""Commits: one transaction after the other becomes part of the log, and the newest database moves on."""
