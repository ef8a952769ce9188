"""The tiny world: arithmetic problems in four languages, and an M_0 that is weak in three of them.

The whole loop takes minutes on a laptop. Imports `shared`.
"""
