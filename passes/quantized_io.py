"""``QuantizedIo``: float inputs and outputs of an integer network become int8."""

from __future__ import annotations

from dataclasses import replace

import tvm
from tvm import relax

from tvm_tiny.ops import IoTensor, ModelIo, get_io, is_tinyml_call, params_of, with_io
from tvm_tiny.passes._dataflow import (
    DataflowWriter,
    Env,
    bindings_of,
    is_atom,
    map_functions,
    shape_of,
    substitute,
    users_of,
)
from tvm_tiny.passes._relax_pass import relax_pass
from tvm_tiny.quant.params import QuantizeParams


@relax_pass
class QuantizedIo:
    """Take ``quantize`` off the inputs and ``dequantize`` off the outputs.

    Before: ``main(x: float32): dequantize(f(quantize(x)))``
    After: ``main(x: int8): f(x)``

    The function's ``ModelIo`` then says by which scale and zero point the host converts (``host_dtype`` "float32").
    Inputs and outputs that are used in any other way stay as they are.
    """

    def transform_module(self, mod: tvm.IRModule, _context: tvm.transform.PassContext) -> tvm.IRModule:
        return map_functions(mod, _strip)


def _strip(func: relax.Function) -> relax.Function:
    values = dict(bindings_of(func))
    result = func.body.body
    results = list(result.fields) if isinstance(result, relax.Tuple) else [result]
    inputs = [_input_params(func, p) for p in func.params]
    outputs = [params_of(values[r]) if is_tinyml_call(values.get(r), "dequantize") else None for r in results]
    if not any((*inputs, *outputs)):
        return func

    stripped = {p: q for p, q in zip(func.params, inputs, strict=True) if q is not None}
    env: Env = {p: relax.Var(p.name, relax.TensorType(shape_of(p), q.dtype)) for p, q in stripped.items()}
    params = [env.get(p, p) for p in func.params]
    writer = DataflowWriter(func)
    for var, value in bindings_of(func):
        if is_tinyml_call(value, "quantize") and value.args[0] in stripped:
            env[var] = env[value.args[0]]
            continue
        new = substitute(value, env)
        env[var] = new if is_atom(new) else writer.emit(new, var.name)
    kept = [r if q is None else values[r].args[0] for r, q in zip(results, outputs, strict=True)]
    new_results = [substitute(r, env) for r in kept]
    body = relax.Tuple(new_results) if isinstance(result, relax.Tuple) else new_results[0]
    io = get_io(func)
    return with_io(
        writer.finish(body, params),
        ModelIo(
            tuple(map(_converted, io.inputs, inputs)),
            tuple(map(_converted, io.outputs, outputs)),
        ),
    )


def _input_params(func: relax.Function, param: relax.Var) -> QuantizeParams | None:
    """How ``param`` is quantized, if that is all that happens to it."""
    found = [
        params_of(value)
        for _, value in bindings_of(func)
        if is_tinyml_call(value, "quantize") and value.args[0].same_as(param)
    ]
    same = bool(found) and all(q == found[0] for q in found)
    return found[0] if same and users_of(func)[param] == len(found) else None


def _converted(tensor: IoTensor, q: QuantizeParams | None) -> IoTensor:
    if q is None:
        return tensor
    return replace(tensor, scale=q.scale, zero_point=q.zero_point, host_dtype="float32")
