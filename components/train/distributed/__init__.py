"""Ranks, ZeRO, checkpoints and scratch disks: what a training run of several processes needs.

Imports `shared`.
"""
