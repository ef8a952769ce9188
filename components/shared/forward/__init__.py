"""Pairs of texts as tokens and micro-batches, and a model's forward pass over them.

What training and scoring have in common. Imports `engines`, `models`, `store`, `records` and
`core`.
"""
