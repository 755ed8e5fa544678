"""Simulation: the user's handlers and the real rules of jobs, under a scheduler that determines what happens when.

    schedule.py    what a schedule is: interventions, each at a step
    scenario.py    what all runs have in common, what a run gives, and virtual time
    memory.py      what runs have committed and read, so that they share it
    relay.py       a loop that continues while functions that it called have stopped
    processes.py   a simulated worker: a bench with its own connection, which stops at every step
    world.py       runs the processes under one schedule: time, crashes, rescue; a pure function of its schedule
    invariants.py  what must hold at every database value
    story.py       what happened, in words; picture.py: the same as SVG
    explore.py     many schedules, from the simplest on

Law: a run is determined by its scenario and its schedule, so each failure can be repeated.
"""
