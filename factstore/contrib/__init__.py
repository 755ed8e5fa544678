"""Parts for other frameworks. Each module needs its framework, and nothing here imports one before it is used.

starlette.py    one store per application, one snapshot per request; also for FastAPI
"""
