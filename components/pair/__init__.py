"""Pair: makes preference pairs from responses (paper, 3.2). Imports `shared` and `rollout`."""
