"""Syncs: rows of other systems into tables of the warehouse, page by page, as durable runs."""
