"""Model files -> canonical QDQ Relax."""

from .load import load_model

__all__ = ["load_model"]
