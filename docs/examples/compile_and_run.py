"""Compiles the bundled model, runs it on this machine and on an emulated board, and holds both against the reference.

python docs/examples/compile_and_run.py
"""

import numpy as np

import tvm_tiny
from tvm_tiny import demo
from tvm_tiny.measure import run_model

# Handwritten digits. `outputs` is what TensorFlow Lite Micro answers, byte for byte.
test_set = np.load(demo.TEST_SET)
images, expected = test_set["inputs"][:8], test_set["outputs"][:8]

model = tvm_tiny.compile(demo.TFLITE, target="tinyml/qemu-m7")
model.export("digits.tar")
print(f"compiled: {model.plan.arena_bytes:,} bytes of arena, {model.report()['macs']:,} MACs")

for device in ("native", "qemu"):
    result = run_model("digits.tar", device=device, inputs={"inputs": images})
    (outputs,) = result.outputs.values()
    differing = np.count_nonzero(outputs != expected)
    print(f"{device}: digits {outputs.argmax(-1).ravel().tolist()}, {differing} of {outputs.size} bytes differ")
    assert differing == 0

report = result.report  # of the emulated board
print(f"{report.instructions:,.0f} instructions per inference, {report.ram.total_bytes:,} bytes of RAM")
