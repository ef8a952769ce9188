"""Language Imbalance Driven Rewarding (Yang et al. 2024, arXiv 2410.08964, section 3.2).

The answer in the dominant language counts as the better one. The model's own translation of it is
chosen over the answer in another language; in the dominant language the answer itself is chosen
over the translation of that other answer.
"""
