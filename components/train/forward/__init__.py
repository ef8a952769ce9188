"""Training's own part of the forward pass: loss, reference log-probabilities, adapters, margins.

Imports `shared`.
"""
