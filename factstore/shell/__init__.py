"""The shell of a store: Datalog, transactions, and commands that begin with a dot.

    statements.py   a text → a command, a query or a transaction; whether a text is complete
    view.py         the moment that the shell shows, and its prompt
    commands.py     the commands, as one table
    session.py      runs a statement; the only object with state
    terminal.py     reads statements on a terminal, with completion and a history, by prompt_toolkit
    piped.py        reads statements from a pipe

Law: a statement does the same on a terminal and in a pipe.
"""
