"""Parts for other frameworks. Each module needs its framework, and nothing here imports one before it is used.

starlette.py    a worker inside of an application of Starlette or FastAPI
django/         a back end of Django Tasks, and `manage.py overseer`
"""
