"""Template: the model as an Arduino library."""
