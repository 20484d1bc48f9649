"""Template: the model in a process of the host, built by the host compiler."""
