"""Holds every layer's bytes, as the device writes them, against the NumPy reference of its operator.

The firmware is the model's own C with ``TINYML_OBSERVED``: after each call of a kernel it sends the bytes just written,
and where in the layer's output they belong. So what is compared is the plan as it runs, with rolling buffers and
patches, and a layer's rows are seen before anything overwrites them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tvm_tiny.aot import follow_metadata, read_ir
from tvm_tiny.errors import RunError
from tvm_tiny.measure.run import prepare
from tvm_tiny.measure.tensors import Array

Bytes = NDArray[np.uint8]
DEFINITION = "-DTINYML_OBSERVED"


@dataclass(frozen=True)
class Difference:
    """The first byte of a layer's output that differs.

    index : of the element in the output
    got, expected : the element's value; ``got`` None where nothing was written
    """

    output: int
    index: tuple[int, ...]
    got: float | None
    expected: float


@dataclass
class LayerCheck:
    """One layer over all inferences.

    elements : values compared, in all inferences
    differing : of them, those of which a byte was wrong once or never written
    """

    index: int
    name: str
    op: str
    shape: tuple[int, ...]
    elements: int = 0
    differing: int = 0
    first: Difference | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        first = self.first
        where = None if first is None else {**vars(first), "index": list(first.index)}
        return {**vars(self), "shape": list(self.shape), "first": where}


@dataclass(frozen=True)
class Validation:
    """What came out; ``first`` is the first layer that differs, in order of execution."""

    model: str
    board: str
    inferences: int
    layers: tuple[LayerCheck, ...]
    first: LayerCheck | None = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "first", next((layer for layer in self.layers if layer.differing), None))

    def to_dict(self) -> dict[str, Any]:
        """JSON values, see docs/schemas/validation.json."""
        return {
            "kind": "tvm-tiny validation",
            "format": 1,
            "model": self.model,
            "board": self.board,
            "inferences": self.inferences,
            "first_difference": None if self.first is None else self.first.index,
            "layers": [layer.to_dict() for layer in self.layers],
        }


def validate_model(
    mlf_path: Path | str | None,
    *,
    inputs: Mapping[str, Array],
    device: str = "native",
    board: str | None = None,
    project_dir: Path | str | None = None,
    project_options: Mapping[str, Any] | None = None,
    run_timeout_s: float = 300.0,
    on_progress: Callable[[int, int], None] | None = None,
) -> Validation:
    """Run a batch of inputs and compare every layer's output with the reference, byte by byte.

    Parameters
    ----------
    mlf_path, inputs, device, board, project_dir, project_options, run_timeout_s, on_progress : as in ``run_model``; the
        project of device "micro" has to be built with ``compile_definitions=-DTINYML_OBSERVED``

    Raises
    ------
    UnsupportedOperatorError : an operator without reference
    InputDataError, MemoryBudgetError, ToolError, ProjectError, RunError, OptionError
    """
    options = dict(project_options or {})
    if device != "micro":
        options["compile_definitions"] = " ".join(filter(None, (options.get("compile_definitions"), DEFINITION)))
    with prepare(
        mlf_path, device=device, board=board, inputs=inputs, project_dir=project_dir, project_options=options
    ) as run:
        reference = _Reference(run.archive, run.module, run.info)
        layers = run.info["layers"]
        checks = tuple(LayerCheck(i, x["name"], x["op"], tuple(x["output_shape"])) for i, x in enumerate(layers))
        observed: list[_Observed] = []

        def observe(layer: int, output: int, offset: int, data: bytes) -> None:
            if not 0 <= layer < len(observed):
                raise RunError(f"firmware tells of layer {layer}; the model has {len(observed)}")
            observed[layer].add(output, offset, data)

        with run.session(run_timeout_s, observe=observe) as session:
            for number, sample in enumerate(run.batch):
                with follow_metadata(run.archive):
                    observed[:] = [_Observed(outputs) for outputs in reference.outputs(sample)]
                run.infer(session, sample)
                if not any(x.told for x in observed):
                    raise RunError(
                        "the firmware does not tell what its layers write",
                        hints=[f"build it with: tvmc micro build -f --project-option compile_definitions={DEFINITION}"],
                    )
                for check, found in zip(checks, observed, strict=True):
                    found.count(check)
                if on_progress is not None:
                    on_progress(number + 1, len(run.batch))
        return Validation(run.info["model"], run.project.info().platform_name, len(run.batch), checks)


class _Observed:
    """What a layer wrote in one inference, beside what it should have written."""

    def __init__(self, expected: Sequence[Array]) -> None:
        self.told = False
        self._expected = [np.ascontiguousarray(x) for x in expected]
        self._bytes: list[Bytes] = [x.reshape(-1).view(np.uint8) for x in self._expected]
        self._got = [np.zeros_like(x) for x in self._bytes]
        self._written = [np.zeros(x.shape, bool) for x in self._bytes]
        self._wrong = [np.zeros(x.shape, bool) for x in self._bytes]

    def add(self, output: int, offset: int, data: bytes) -> None:
        self.told = True
        end = offset + len(data)
        if output >= len(self._bytes) or end > len(self._bytes[output]):
            raise RunError(f"firmware tells of bytes {offset:,} to {end:,} of an output that does not have them")
        part, got = slice(offset, end), np.frombuffer(data, np.uint8)
        wrong = got != self._bytes[output][part]
        # A row may be made again; the first wrong value of a byte stays.
        fresh = ~self._wrong[output][part]
        self._got[output][part][fresh] = got[fresh]
        self._wrong[output][part] |= wrong
        self._written[output][part] = True

    def count(self, check: LayerCheck) -> None:
        for output, expected in enumerate(self._expected):
            size = expected.dtype.itemsize
            bad = (self._wrong[output] | ~self._written[output]).reshape(-1, size).any(axis=1)
            check.elements += bad.size
            check.differing += int(bad.sum())
            if check.first is None and bad.any():
                at = int(bad.argmax())
                index = tuple(int(i) for i in np.unravel_index(at, expected.shape))
                there = self._written[output][at * size : (at + 1) * size].all()
                got = self._got[output].view(expected.dtype)[at].item() if there else None
                check.first = Difference(output, index, got, expected[index].item())


class _Reference:
    """The integer network of an archive, evaluated with NumPy."""

    def __init__(self, archive: Path, module: str, info: Mapping[str, Any]) -> None:
        from tvm_tiny.ops import load_network

        with follow_metadata(archive):
            self._func = load_network(read_ir(archive, module))["main"]
        self._info = info

    def outputs(self, sample: Sequence[bytes]) -> list[list[Array]]:
        """Outputs of every layer, for one inference's inputs."""
        from tvm_tiny.passes import evaluate_function

        tensors = self._info["inputs"]
        arrays = [
            np.frombuffer(data, np.dtype(t["dtype"])).reshape(t["shape"])
            for data, t in zip(sample, tensors, strict=True)
        ]
        values, _ = evaluate_function(self._func, arrays)
        # Names may repeat; equal ones stand in the same order in both.
        made: defaultdict[str, list[Any]] = defaultdict(list)
        for var, value in values.items():
            made[str(var.name)].append(value)
        graph = self._info["graph"]
        found: dict[int, list[Array]] = {}
        for tensor in self._input_tensors():
            found[tensor] = made[graph["tensors"][tensor]["name"]].pop(0)
        layers: dict[int, list[Array]] = {}
        for number, op in enumerate(graph["operators"]):
            if not op["inputs"]:
                continue  # the caller's part of a streamed input
            if op["name"] in made and made[op["name"]]:
                value = made[op["name"]].pop(0)
                outputs = list(value) if isinstance(value, tuple | list) else [value]
            else:
                outputs = [found[op["inputs"][0]]]  # a copy for an output that has another owner
            found.update(zip(op["outputs"], outputs, strict=True))
            layers[number] = outputs
        return [layers[layer["operator"]] for layer in self._info["layers"]]

    def _input_tensors(self) -> list[int]:
        """Tensors that no operator makes, or the caller."""
        graph = self._info["graph"]
        made = {t for op in graph["operators"] if op["inputs"] for t in op["outputs"]}
        read = dict.fromkeys(t for op in graph["operators"] for t in (*op["inputs"], *op["outputs"]))
        return [t for t in read if t not in made]
