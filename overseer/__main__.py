"""`python -m overseer` is `overseer`."""

from overseer.cli import main

main(prog_name="overseer")
