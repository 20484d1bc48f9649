"""Tunes one layer of the bundled model on an emulated Cortex-M4, with few trials, and compiles with what it found.

    python docs/examples/tune.py

Run again, it measures nothing twice. On a board, ``tune`` takes ``device=BoardDevice(...)``: docs/tuning.md.
"""

import numpy as np

import tvm_tiny
from tvm_tiny import demo
from tvm_tiny.measure import run_model
from tvm_tiny.tune import model_tasks, tune

TARGET = "tinyml/qemu-m4"

for task in model_tasks(demo.TFLITE, TARGET):
    print("can be tuned:", task.key)

# "random" tries kernels of all kinds at once. Without `tasks` and `trials`, every layer's space is searched to its end.
found = tune(demo.TFLITE, TARGET, output="records", tasks=["qdepthwise_conv2d 1x8x8x8 *"], trials=4, tuner="random")
(layer,) = found.states
print(f"{layer.task.key}: {layer.untuned:,.0f} modelled cycles untuned, {layer.best:,.0f} with {layer.best_decisions}")

model = tvm_tiny.compile(demo.TFLITE, TARGET, tuning_records=found.records)  # or the folder, "records"
model.export("tuned.tar")
test_set = np.load(demo.TEST_SET)
result = run_model("tuned.tar", device="qemu", inputs={"inputs": test_set["inputs"][:2]})
(outputs,) = result.outputs.values()
print(f"{result.report.instructions:,.0f} instructions per inference")
assert np.array_equal(outputs, test_set["outputs"][:2]), "kernels differ in speed alone"
