"""Threads and processes: locks that a call owns, and objects that a forked child must not use."""
