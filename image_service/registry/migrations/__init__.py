"""Migrations of the registry's database (alembic).

``env.py`` runs on the connection that ``registry.schema`` gives it.
"""
