"""The bundled model: handwritten digits, in both formats, with a held-out test set."""

from pathlib import Path

_FOLDER = Path(__file__).parent
TFLITE = _FOLDER / "digits.tflite"
ONNX = _FOLDER / "digits.onnx"
TEST_SET = _FOLDER / "digits_test.npz"
"""``inputs`` int8 [360, 1, 8, 8, 1], ``labels`` uint8 [360], ``outputs`` int8 [360, 1, 10] of TFLite Micro."""
