"""Work on a store as a whole: pruning what nothing refers to, and following a store that moved.

Imports `components.shared` alone.
"""
