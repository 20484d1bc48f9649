"""Which rule lowers which Relax operator."""

from __future__ import annotations

from tvm_tiny.passes.qdq.lowering import MOVEMENT, Rule
from tvm_tiny.passes.qdq.rules_elementwise import lower_activation, lower_add, lower_binary
from tvm_tiny.passes.qdq.rules_linear import lower_conv2d, lower_matmul
from tvm_tiny.passes.qdq.rules_movement import lower_concat, lower_movement
from tvm_tiny.passes.qdq.rules_spatial import lower_mean, lower_pool2d, lower_resize2d, lower_softmax

RULES: dict[str, Rule] = {
    "nn.conv2d": lower_conv2d,
    "matmul": lower_matmul,
    "add": lower_add,
    "subtract": lower_binary,
    "multiply": lower_binary,
    "nn.relu": lower_activation,
    "clip": lower_activation,
    "nn.avg_pool2d": lower_pool2d,
    "nn.max_pool2d": lower_pool2d,
    "mean": lower_mean,
    "nn.softmax": lower_softmax,
    "image.resize2d": lower_resize2d,
    "concat": lower_concat,
    **dict.fromkeys(MOVEMENT, lower_movement),
}
