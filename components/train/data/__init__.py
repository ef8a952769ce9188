"""Preference pairs as tokens, micro-batches and shares of the ranks.

Imports `shared`.
"""
