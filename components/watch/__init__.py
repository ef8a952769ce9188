"""Watch: checks for new inputs before a scheduled run begins. Imports `shared`."""
