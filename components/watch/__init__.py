"""Watch: looks for new inputs before a scheduled run begins. Imports `shared`."""
