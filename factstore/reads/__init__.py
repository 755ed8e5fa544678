"""Reads of a database value beside queries: entity, pull, history, difference, full-text search."""
