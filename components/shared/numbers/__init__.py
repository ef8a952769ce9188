"""Numbers in text, in any script and writing: one parser for scoring, the reward and the filters.

`answer` says which number an answer gives, `preserved` whether a translation keeps a text's.
Imports `core` alone.
"""
