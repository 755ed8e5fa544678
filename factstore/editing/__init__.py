"""What editors of queries share: the console, the shell, and cells of notebooks.

words.py      the words that complete a text       mistakes.py   the part of a text that an error is about
brackets.py   whether a text is complete           saved.py      queries that are saved as facts
"""
