"""Ranks, ZeRO and checkpoints: what a training run of several processes needs.

Imports `shared`.
"""
