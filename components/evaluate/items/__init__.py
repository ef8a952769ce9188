"""Finds, reads and checks the items of evaluation tasks: local files and data sets of the hub."""
