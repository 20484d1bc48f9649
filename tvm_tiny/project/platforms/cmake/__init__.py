"""Template: the model as a static library for CMake, Make and vendors' IDEs."""
