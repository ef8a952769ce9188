"""Cleanup: ends what an ended loop leaves behind. Imports `shared`."""
