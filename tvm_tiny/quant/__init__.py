"""Quantized arithmetic on plain integers and NumPy arrays: no TVM.

``params`` are the operators' parameters, ``scales`` and ``lut`` make them and the lookup tables from float scales,
``reference`` computes every operator; ``fixed_point``, ``gemmlowp_math``, ``softmax`` and ``resize`` are what these
stand on.
"""
