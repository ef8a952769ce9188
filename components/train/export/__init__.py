"""From trained weights to files: a plain model with the start model's other files, or an adapter.

Imports `train.distributed` and `shared`.
"""
