"""Implicit Cross-lingual Rewarding (Yang et al. 2025, arXiv 2503.04647).

Of several samples in a language, the one with the highest implicit reward of a model that was tuned
on preferences is chosen over the one with the lowest: r = beta * log(policy / reference), both
reading the instruction in the dominant language. The step `score` computes r. As in the authors'
code (ZNLP/Implicit-Cross-Lingual-Rewarding, utils/generate_preference_pair.py), a penalty on the
length in characters is set in each language so that chosen and rejected texts are equally long on
average. Unlike that code, which leaves out the first token of a response, we sum the
log-probabilities of all its tokens.
"""
