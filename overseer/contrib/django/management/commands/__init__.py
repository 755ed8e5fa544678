"""`manage.py overseer`."""
