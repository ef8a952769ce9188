"""What a user writes: the recipe (what to learn) and the profile (where it runs).

Imports `core` alone.
"""
