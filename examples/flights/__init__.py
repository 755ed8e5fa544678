"""The demonstration: New York's flights of 2013 loaded as durable jobs, and what delayed them concluded in Datalog.

    python -m examples.flights --months 2 --workers 2

`pipeline` is the graph of jobs, `handlers` what each does, `facts` how a line of a file becomes facts, `questions` everything
that is asked, `conclusions` and `report` what comes of the answers. `runs` starts the workers; `main` is the command line.
"""
