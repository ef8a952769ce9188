"""Pair: responses and translations become preference pairs (paper, 3.2). Imports `shared`."""
