"""Chance of the engine's own.

Python's shared generator belongs to the user: after ``random.seed(7)`` in a notebook `step.random` would give every run
the same number, and draws by a background thread would disturb whoever counts on the shared one's order.
"""

from __future__ import annotations

from random import SystemRandom

#: a number in [0, 1)
chance = SystemRandom().random
