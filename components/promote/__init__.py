"""Promote: moves an alias to a version that passed the gate. Imports `shared`."""
