"""Migrations of the registry's database (alembic).

``env.py`` runs on the connection that ``registry.schema`` gives it. Every migration does what is left to do, and nothing where
all is done: MySQL cannot undo half of one, and a new database gets its tables as they are today by the first.
"""
