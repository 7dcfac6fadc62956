"""The engine: journal, pure fold and decide, group-commit writer, step verbs, runs in memory."""
