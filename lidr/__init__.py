"""lidr: language models teach themselves the languages they are weak in.

The one import name of the folders `components` and `pipelines`, which are linked here.
"""
