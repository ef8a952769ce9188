"""Language Imbalance Driven Rewarding (Yang et al. 2024, arXiv 2410.08964, section 3.2).

The answer in the dominant language is taken for the better one: translated by the model itself, it
is chosen over the own answer in another language, and over the translation of that in its own.
"""
