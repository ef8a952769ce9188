"""Prepare: checks a recipe's inputs, or makes the tiny world's, and imports M_0.

Imports `toy` and `shared`.
"""
