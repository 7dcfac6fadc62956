"""The command line: ``dataflows demo | run | runs | show | tail | doctor``.

Nothing heavy is imported before a command needs it, so that ``dataflows --help`` answers at once.
"""
