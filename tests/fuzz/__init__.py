"""Differential fuzzing: random models, compiled under random options, give the reference's bits or one clear error.

``python -m tests.fuzz --help``, or ``make fuzz MINUTES=30``; docs/reliability.md says what it has found.
"""
