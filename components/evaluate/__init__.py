"""Evaluate: scores a model on the recipe's benchmarks and its off-target answers.

Imports `shared`. The harness (lm-eval) is imported when a model is evaluated.
"""
