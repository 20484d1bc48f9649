"""Writes docs/passes.md: every pass, on the smallest module that shows what it does.

Usage: ``python -m tests.passes_page > docs/passes.md`` (``make docs``)
"""

from __future__ import annotations

import inspect
import re
import sys
import textwrap
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import tvm
from tvm import relax

from tests.integer_layers import CONV, REVERSED, add, clamp_table, conv, lookup, max_pool
from tests.relax_builder import const, dequantize, module, quantize
from tvm_tiny import passes, planner, schedules
from tvm_tiny.ops import IoTensor, ModelIo, Program, make_call, with_io
from tvm_tiny.quant.params import QuantizeParams
from tvm_tiny.targets import resolve

op = relax.op
WIDTH = 112
_GLUE = "\N{NO-BREAK SPACE}"
TO_PIXELS, TO_PLANES = [0, 2, 3, 1], [0, 3, 1, 2]

_HEAD = """\
# Passes

What each pass of `tvm_tiny.passes` does, on the smallest module that shows it. This page is made from the docstrings
and from what the passes answer; do not edit it. After a change there, run

    python -m tests.passes_page > docs/passes.md

The texts are TVM's own of the function, without decorators and attributes, with `const_0`, `const_1` for tensor
constants (numbered anew in each text) and long lines broken. Before and After in front of them are the idea in one
line. `tvm_tiny/pipeline.py` has the order; `tvmc compile --dump-ir DIR` writes the module after each of its phases.
[adding_a_pass.md](adding_a_pass.md) is about passes of your own, and [examples/one_pass.py](examples/one_pass.py) uses
one alone.

## Relax: from a model file to integer operators

These are TVM module passes: `Pass()(module)` gives a new module, and leaves alone what it has made.
"""

_PROGRAMS = """\
## Programs: what the planner plans

A `Program` is a straight line of kernel calls with the planner's graph of it ([planner.md](planner.md)); these
functions make or change one. The lines below are operators in the order of execution, their kind, and what they read
and write.
"""

_TIR = """\
## TIR: kernels and the main loop

For these, a 3x3 convolution and a 3x3 max pooling with stride 2, for a core without SIMD instructions, with
`--caller-io`. What layers say to those who watch them (`TINYML_OBSERVE`) is left out.
"""


def passes_markdown() -> str:
    """The whole page."""
    return "\n".join([_HEAD, *_relax_sections(), _PROGRAMS, *_program_sections(), _TIR, *_tir_sections()])


def _relax_sections() -> list[str]:
    rng = np.random.default_rng(1)
    weight = rng.integers(-9, 10, (4, 3, 3, 2), dtype=np.int8)
    image = ((1, 8, 8, 2), "int8")

    def qdq(bb: Any, x: Any) -> Any:
        data, filters = bb.emit(dequantize(x, 0.5, 3), "data"), dequantize(const(weight, "int8"), 0.25)
        y = bb.emit(op.nn.conv2d(data, filters, data_layout="NHWC", kernel_layout="OHWI"), "convolved")
        y = bb.emit(op.add(y, dequantize(const([7, 8, 9, 10], "int32"), 0.125)), "biased")
        return bb.emit(quantize(bb.emit(op.nn.relu(y), "positive"), 1.0, -128), "y")

    def edges(bb: Any, x: Any) -> Any:
        x = bb.emit(make_call("quantize", [x], QuantizeParams(0.5, 3, "int8")), "x_int8")
        y = bb.emit(lookup(x, REVERSED), "y_int8")
        return bb.emit(make_call("dequantize", [y], QuantizeParams(0.25, -4, "float32")), "y")

    def nchw(bb: Any, x: Any) -> Any:
        y = bb.emit(op.permute_dims(bb.emit(conv(x, weight), "convolved"), TO_PLANES), "planes")
        y = bb.emit(op.permute_dims(bb.emit(lookup(y, REVERSED), "table"), TO_PIXELS), "pixels")
        return bb.emit(max_pool(y), "y")

    def input_planes(bb: Any, x: Any) -> Any:
        x = bb.emit(make_call("quantize", [x], QuantizeParams(0.5, 3, "int8")), "x_int8")
        return bb.emit(op.permute_dims(x, TO_PIXELS), "pixels")

    def padded(bb: Any, x: Any) -> Any:
        x = bb.emit(op.nn.pad(x, [0, 0, 0, 1, 0, 1, 0, 0], "constant", CONV.input_zero_point), "padded")
        return bb.emit(conv(x, weight, strides=(2, 2)), "y")

    def clamped(bb: Any, x: Any) -> Any:
        return bb.emit(lookup(bb.emit(conv(x, weight), "convolved"), clamp_table(CONV.output_zero_point, 127)), "y")

    def constant(bb: Any, x: Any) -> Any:
        return bb.emit(add(x, bb.emit(lookup(const([[1, 2]], "int8"), REVERSED), "table_of_constant")), "y")

    def moves(bb: Any, x: Any) -> Any:
        x = bb.emit(op.reshape(x, (1, 128)), "flat")
        return bb.emit(op.reshape(bb.emit(lookup(x, np.arange(-128, 128)), "same"), (8, 16)), "y")

    def dead(bb: Any, x: Any) -> Any:
        first, second = weight.copy(), np.ones((3, 1, 1, 4), np.int8)
        first[1] = 0  # the channel is its bias, whatever x is
        y = bb.emit(conv(x, first), "convolved")
        return bb.emit(conv(y, second, input_zero_point=CONV.output_zero_point), "y")

    def halves(bb: Any, x: Any) -> Any:
        parts = bb.emit(op.split(x, 2, axis=1), "halves")
        return [bb.emit(relax.TupleGetItem(parts, i), f"half_{i}") for i in range(2)]

    def block(bb: Any, x: Any) -> Any:
        y = bb.emit(conv(x, rng.integers(-9, 10, (8, 1, 1, 2), dtype=np.int8)), "expand")
        around = replace(CONV, padding=(1, 1, 1, 1))
        vectors = [const(np.full(8, v), "int32") for v in (0, 1 << 30, -5)]
        filters = const(rng.integers(-9, 10, (3, 3, 8)), "int8")
        y = bb.emit(make_call("qdepthwise_conv2d", [y, filters, *vectors], around), "depthwise")
        return bb.emit(conv(y, rng.integers(-9, 10, (2, 1, 1, 8), dtype=np.int8)), "project")

    float_io = module(edges, x=((1, 4), "float32"))
    float_io["main"] = with_io(float_io["main"], ModelIo((IoTensor("x"),), (IoTensor("y"),)))
    rows = [
        (passes.LowerQdq(), module(qdq, x=image)),
        (passes.QuantizedIo(), float_io),
        (passes.CancelTransposes(), module(nchw, x=image)),
        (passes.HoistTransposes(), module(input_planes, x=((1, 2, 8, 8), "float32"))),
        (passes.FoldPad(), module(padded, x=image)),
        (passes.FuseLookup(), module(clamped, x=image)),
        (passes.FoldConstants(), module(constant, x=((1, 2), "int8"))),
        (passes.RemoveIdentities(), module(moves, x=image)),
        (passes.RemoveDeadChannels(), module(dead, x=image)),
        (passes.SplitToSlices(), module(halves, x=image)),
        (passes.TileChannels(tiles=(passes.ChannelTiles(2, "project"),)), module(block, x=((1, 3, 3, 2), "int8"))),
    ]
    return [_section(type(each), _relax_text(before), _relax_text(each(before))) for each, before in rows]


def _program_sections() -> list[str]:
    def parts(bb: Any, x: Any) -> Any:
        upper, lower = bb.emit(max_pool(x), "upper"), bb.emit(lookup(x, REVERSED), "table")
        both = bb.emit(op.concat([upper, bb.emit(max_pool(lower), "lower")], axis=1), "both")
        return bb.emit(lookup(both, REVERSED), "y")

    def branches(bb: Any, x: Any) -> Any:
        large = [bb.emit(conv(x, np.ones((8, 3, 3, 2), np.int8)), f"large_{i}") for i in range(2)]
        small = [bb.emit(max_pool(y), f"small_{i}") for i, y in enumerate(large)]
        return bb.emit(add(*small), "y")

    mod = module(parts, x=((1, 17, 17, 4), "int8"))
    program, branched = _program(mod), _program(module(branches, x=((1, 16, 16, 2), "int8")))
    viewed = passes.place_views(program, "rows")
    ordered = passes.reorder_program(branched, planner.find_order(branched.graph, "off"))
    rows: list[tuple[Any, str, str]] = [
        (passes.extract_program, _relax_text(mod), _program_text(program)),
        (passes.place_views, _program_text(program), _program_text(viewed)),
        (passes.reorder_program, _program_text(branched), _program_text(ordered)),
        (passes.stream_input, _program_text(viewed), _program_text(passes.stream_input(viewed))),
    ]
    return [_section(*row) for row in rows]


def _tir_sections() -> list[str]:
    def two(bb: Any, x: Any) -> Any:
        weight = np.ones((2, 3, 3, 16), np.int8)
        return bb.emit(max_pool(bb.emit(conv(x, weight), "convolved")), "pooled")

    program = _program(module(two, x=((1, 33, 33, 16), "int8")), caller_io=True)
    plan = planner.plan_memory(program.graph, fusion="rows")
    tir = passes.build_main(program, plan, "tvmgen_default").module
    pool = _kernel(tir, "tvmgen_default_qmax_pool2d_3x3_s2")
    pointers = passes.UsePlainPointers()(pool)
    return [
        _section(passes.build_main, _program_text(program), _tir_text(_kernel(tir, "tvmgen_default___tvm_main__"))),
        _section(passes.UsePlainPointers, _tir_text(pool, head=3), _tir_text(pointers, head=5)),
        _section(passes.lower_tir, _tir_text(pool), _tir_text(passes.lower_tir()(pool))),
    ]


def _kernel(mod: tvm.IRModule, name: str) -> tvm.IRModule:
    return tvm.IRModule({name: mod[name]})


def _program(mod: tvm.IRModule, *, caller_io: bool = False) -> Program:
    cpu = resolve("tinyml/qemu-m3").cpu
    return passes.extract_program(mod["main"], lambda call: schedules.select(call, cpu), caller_io=caller_io)


def _section(what: Callable[..., Any], before: str, after: str) -> str:
    """Name and docstring, then both texts."""
    doc = inspect.cleandoc(what.__doc__ or "").split("\nParameters\n")[0].split("\nRaises\n")[0]
    prose = doc.strip().replace("``", "`").replace("\nAfter:", "\n\nAfter:")
    blocks = f"```\n# before\n{before}\n```\n\n```\n# after\n{after}\n```\n"
    return f"### {what.__name__}\n\n{prose}\n\n{blocks}"


def _relax_text(mod: tvm.IRModule) -> str:
    lines = [line.strip() for line in mod["main"].script(show_meta=False).splitlines()]
    start = next(i for i, line in enumerate(lines) if line.startswith("def main"))
    body = [line for line in lines[start + 1 :] if line and not line.startswith(("#", "with R.", "R.output", "R.func"))]
    # Results have names of their own in TVM's text; here they are those of what is returned.
    results = {m[1]: m[2] for line in body if (m := re.fullmatch(r"(gv\d*): .* = (\w+)", line))}
    body = [line for line in body if line.split(":")[0] not in results]
    body[-1] = re.sub(r"gv\d*", lambda m: results.get(m[0], m[0]), body[-1])
    return _broken("\n".join([lines[start], *(f"    {line}" for line in body)]))


def _tir_text(mod: tvm.IRModule, head: int | None = None) -> str:
    ((_, func),) = mod.functions_items()
    lines = [line for line in func.script(show_meta=False).splitlines() if line and not line.startswith(("#", "@"))]
    lines = [line for line in lines if "func_attr" not in line and "TINYML_OBSERVE" not in line]
    return _broken("\n".join([*lines[:head], *(["    ..."] if head else [])]))


def _broken(text: str) -> str:
    """Tensor constants by number, and no line longer than ``WIDTH``."""
    text = re.sub(r'metadata\["[\w.]+"\]\[(\d+)\]', r"const_\1", text)
    lines = []
    for line in text.splitlines():
        kept = re.sub(r"[\[(][^\[\]()]{0,40}[\])]", lambda m: m[0].replace(" ", _GLUE), line).replace(": ", f":{_GLUE}")
        indent = " " * (len(line) - len(line.lstrip()) + 4)
        lines += textwrap.wrap(kept, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
    return "\n".join(lines).replace(_GLUE, " ")


def _program_text(program: Program) -> str:
    tensors = program.graph.tensors
    rows = []
    for step in program.graph.ops:
        names = [", ".join(tensors[t].name for t in group) or "the caller" for group in (step.inputs, step.outputs)]
        rows.append(f"{step.name:10} {step.kind.name:5} {names[0]} -> {names[1]}")
    return "\n".join(rows)


if __name__ == "__main__":
    sys.stdout.write(passes_markdown())
