"""A shop whose jobs are of all kinds, to see the console alive: `make console-demo`."""
