"""Asks a language model for judgements; shared by judge and grade. Imports `shared`."""
