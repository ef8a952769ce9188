"""What a stage was made from, and whether all of it is still there and whole.

Imports `store`, `records` and `core`.
"""
