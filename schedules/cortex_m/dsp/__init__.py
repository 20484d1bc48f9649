"""Kernels for cores with the Armv7E-M SIMD instructions, with inner loops in assembly.

Each function here gives a kernel, or None where its method is not exact or does not reach; the general kernels of
``schedules.cortex_m`` then serve.
"""

from tvm_tiny.schedules.cortex_m.dsp.select_convolution import dsp_conv2d, dsp_depthwise_forms
from tvm_tiny.schedules.cortex_m.dsp.select_others import dsp_add, dsp_dense

__all__ = ["dsp_add", "dsp_conv2d", "dsp_dense", "dsp_depthwise_forms"]
