"""The pipeline, its compilation and everything around runs: command line, checks, plans.

Imports `components`; nothing there imports it.
"""
