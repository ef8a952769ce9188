"""Asking a language model for judgements: what judge and grade have in common.

Imports `shared`.
"""
