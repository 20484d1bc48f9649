"""Template: the model as firmware of a board on a serial port."""
