"""What a user writes down: the recipe (what to learn) and the profile (where it runs).

Imports `core` alone.
"""
