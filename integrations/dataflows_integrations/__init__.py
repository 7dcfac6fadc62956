"""Connections of dataflows-sdk to other services; nothing public yet (see integrations/README.md)."""
