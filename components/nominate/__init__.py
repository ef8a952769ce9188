"""Nominate: chooses what a promotion compares with the champion. Imports `shared`."""
