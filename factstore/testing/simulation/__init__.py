"""Simulated processes on stores in memory: deterministic schedules, and laws that hold in each of them.

scheduler.py     processes that stop at every verb of the storage protocol
schedules.py     the order in which they continue: one, all up to a number of preemptions
simulation.py    simulate, check_interleavings, check_kills: scripts of users, and the laws of the store
"""
