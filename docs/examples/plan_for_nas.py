"""Asks the planner how much RAM candidate networks would take: milliseconds each, nothing is compiled.

python docs/examples/plan_for_nas.py
"""

import itertools
import time

from tvm_tiny.planner import Graph, NetworkBuilder, estimate

BUDGET_BYTES = 24 * 1024


def candidate(resolution: int, width: int, blocks: int) -> Graph:
    """A network of inverted residuals on an RGB image, ten classes."""
    net = NetworkBuilder()
    x = net.conv(net.input(resolution, resolution, 3), width, kernel=3, stride=2)
    for i in range(blocks):
        channels = width << (i // 2)
        stride = 2 if i % 2 else 1
        y = net.conv(x, 4 * channels)  # expand
        y = net.depthwise(y, kernel=3, stride=stride)
        y = net.conv(y, width << ((i + 1) // 2))  # project
        x = net.add(x, y) if stride == 1 else y
    net.dense(net.mean(x), 10)
    return net.graph()


space = list(itertools.product((48, 64, 96), (8, 16), (4, 6)))
start = time.perf_counter()
found = []
for resolution, width, blocks in space:
    graph = candidate(resolution, width, blocks)
    found.append((sum(op.macs for op in graph.ops), estimate(graph).ram_bytes, resolution, width, blocks))
milliseconds = (time.perf_counter() - start) * 1e3 / len(space)

print(f"{len(space)} candidates, {milliseconds:.1f} ms each\n\n   MACs      RAM  resolution  width  blocks")
for macs, ram, resolution, width, blocks in sorted(found):
    fits = "" if ram <= BUDGET_BYTES else "   too large"
    print(f"{macs / 1e6:5.2f} M {ram:8,d} {resolution:11d} {width:6d} {blocks:7d}{fits}")

macs, ram, *best = max(c for c in found if c[1] <= BUDGET_BYTES)
print(f"\nthe most work that fits {BUDGET_BYTES:,} bytes: resolution, width, blocks = {best}")
