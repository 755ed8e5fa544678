"""`python -m factstore`: the command line."""

from factstore.cli import main

main(prog_name="factstore")
