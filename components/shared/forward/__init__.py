"""Pairs of texts as tokens and micro-batches, and a model's forward pass over them.

Training and scoring share this package. Imports `engines`, `models`, `records` and `core`.
"""
