"""Work on a whole store: pruning what nothing refers to, and following a store that moved."""
