"""The pipeline, its compilation, the command line, checks and plans.

Imports `components`; nothing there imports it.
"""
