"""From trained weights to files: a plain model beside the start model's own files, or an adapter.

Imports `train.distributed`, `train.forward` and `shared`.
"""
