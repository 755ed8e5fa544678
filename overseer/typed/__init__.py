"""Typed jobs: a function of a job and of typed arguments declares a job type, its arguments and its result.

    app.py         the registry, which is the mapping of handlers of a worker
    typed_job.py   one job type: its transactions, its handler, its results
    parameters.py  the arguments of a function as attributes
    returns.py     what becomes of the value that a function returns
    codecs.py      values of Python types as EDN, by annotation
    graphs.py      graphs of typed jobs
    ref.py         a job in a store, with the type of its result

Law: a typed job adds nothing to the store that `job_txn` and a mapping of handlers cannot write.
"""
