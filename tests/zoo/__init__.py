"""Small random models in the shapes of the families that users bring, and what holds for each."""
