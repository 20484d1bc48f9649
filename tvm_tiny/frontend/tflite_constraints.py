"""What a TFLite operator must be like to be compiled: importing this module defines all constraints."""

from __future__ import annotations

from . import tflite_constraints_compute, tflite_constraints_movement
from .tflite_support import TFLITE

__all__ = ["TFLITE", "tflite_constraints_compute", "tflite_constraints_movement"]
