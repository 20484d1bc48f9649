"""Uses one pass alone, on a module of one's own, and shows what it changed.

python docs/examples/one_pass.py
"""

import numpy as np
from tvm import relax

from tvm_tiny.ops import make_call
from tvm_tiny.passes import FoldPad
from tvm_tiny.quant.params import Conv2DParams

# A padding in front of a convolution, as many converters write it. Activations are NHWC, weights OHWI.
ZERO_POINT = -3
params = Conv2DParams(
    strides=(2, 2),
    padding=(0, 0, 0, 0),  # top, left, bottom, right
    dilation=(1, 1),
    groups=1,
    input_zero_point=ZERO_POINT,
    output_zero_point=0,
    clamp_min=-128,
    clamp_max=127,
    rounding="tflm",
)
weight = relax.const(np.ones((4, 3, 3, 2), np.int8))
bias, multiplier, shift = (relax.const(np.full(4, v, np.int32)) for v in (0, 1 << 30, -5))

x = relax.Var("x", relax.TensorType((1, 8, 8, 2), "int8"))
builder = relax.BlockBuilder()
with builder.function("main", [x]):
    with builder.dataflow():
        padded = builder.emit(relax.op.nn.pad(x, [0, 0, 0, 1, 0, 1, 0, 0], "constant", ZERO_POINT), "padded")
        y = builder.emit_output(make_call("qconv2d", [padded, weight, bias, multiplier, shift], params), "y")
    builder.emit_func_output(y)
before = builder.get()

after = FoldPad()(before)  # a pass is called with a module, and gives a new one

print("# before\n" + before.script(show_meta=False))
print("# after\n" + after.script(show_meta=False))
assert "R.nn.pad" not in after.script(show_meta=False)
