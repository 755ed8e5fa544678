"""Maintenance of a store: checks, garbage collection, backups, dumps, migrations, files of transactions."""
