"""Cleanup: removes the temporary files of an ended loop. Imports `shared`."""
