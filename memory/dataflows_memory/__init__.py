"""A memory for agents on top of dataflows-sdk: `ctx.memory`, SQL that a model wrote, tools."""
