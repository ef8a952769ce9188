"""The tiny world: arithmetic problems in languages of its own, and the M_0 that is weak in them.

A laptop's world in which the whole loop takes minutes. Imports `shared`.
"""
