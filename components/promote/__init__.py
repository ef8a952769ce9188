"""Promote: moves the alias `champion` to a version that passed. Imports `shared`."""
