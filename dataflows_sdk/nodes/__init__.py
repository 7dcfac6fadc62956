"""The node types: their configs, what they do, and the registry that others extend (`dataflows_sdk.nodes.registry`)."""
