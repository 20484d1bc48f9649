"""Kernels for cores with Helium (the M-profile Vector Extension, MVE), with inner loops in assembly.

Each function here gives a kernel, or None where its method is not exact or does not reach; then the kernels for cores
with SIMD instructions (``schedules.cortex_m.dsp``) or the general ones serve.
"""

from tvm_tiny.schedules.cortex_m.mve.select_convolution import mve_conv2d, mve_depthwise_conv2d
from tvm_tiny.schedules.cortex_m.mve.select_others import mve_add, mve_dense

__all__ = ["mve_add", "mve_conv2d", "mve_dense", "mve_depthwise_conv2d"]
