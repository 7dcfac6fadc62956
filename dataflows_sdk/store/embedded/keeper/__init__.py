"""The keeper: a tiny process that owns one embedded PostgreSQL, from initdb to the last shutdown.

It is a program of its own (``python -I -S keeper/__main__.py DIRECTORY BINARIES``), so that it starts in some
20 ms and lives on when the notebook that started it is killed. Hence two rules for every module in here: only
the standard library, and only relative imports. The clients share `layout`, `locks` and `probe` with it.
"""
