"""Commits: transactions are appended to the log one after the other, and the newest database follows."""
