"""How the processes that have one file open see each other: the writer lock, holds, wake-ups, the names of the file."""
