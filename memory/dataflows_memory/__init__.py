"""A memory for agents on top of dataflows-sdk; nothing public yet (see memory/README.md)."""
