"""Template: the model as a Zephyr module, with an application where wanted."""
