"""Damaged and hostile files for everything that reads files from outside.

``python -m tests.fuzz.damage --help``, or ``make fuzz-damage MINUTES=30``; docs/reliability.md says what was found.
"""
