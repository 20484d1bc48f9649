"""Template: the model as firmware on a Cortex-M that QEMU emulates."""
