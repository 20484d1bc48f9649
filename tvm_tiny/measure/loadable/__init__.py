"""C that goes with a model into the RAM of a device."""
