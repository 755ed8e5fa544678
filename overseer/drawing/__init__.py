"""Pictures of jobs as SVG: the graph around a job with live states, attempts as bars, and plans.

    layout.py   places of nodes in layers         attempts.py   attempts and plans as bars on an axis of time

This package takes plain values, and reads no database.
"""
