"""Parses numbers in text, in any script and notation, for scoring, the reward and the filters.

`answer` finds the number that an answer gives, `preserved` checks whether a translation keeps those
of its source.
Imports `core` alone.
"""
