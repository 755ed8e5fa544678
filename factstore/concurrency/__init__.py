"""Threads and processes: locks that a call owns, and what a fork must not inherit."""
