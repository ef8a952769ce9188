"""Intervals, tests and paired comparisons. Imports `core`, `records` and `store`."""
