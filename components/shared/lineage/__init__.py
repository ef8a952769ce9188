"""What a stage was made from, and whether all of it still exists unchanged.

Imports `models`, `store` and what lies below them.
"""
