"""The forward pass: attention, head, loss, reference log-probabilities, adapters, margins.

Imports `train.data` and `shared`.
"""
