"""A judge's grades: of several samples the best is chosen over the worst.

The judge is the recipe's (`judge`), a language model that grades single answers from 0 to 10 as in
MT-Bench (Zheng et al. 2023, arXiv 2306.05685). The step `grade` asks it.
"""
