"""Registered models: versions, their aliases, promotion, and the record of who promoted what.

MLflow has no transaction over two calls and no compare-and-set of an alias. What must not be done
twice, or by two at once, is done under a lease on the store (`components/shared/store/lease.py`).
"""
