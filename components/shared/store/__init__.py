"""What is durable: the object store, stages with their markers, runs, leases, the node's cache.

Imports `core`, `config`, `steps` and `records`.
"""
