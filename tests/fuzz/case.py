"""One random case: a model, inputs, options; drawn from a seed, kept in a folder."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.fuzz.draws import Draws, Spans
from tests.fuzz.onnx_layers import LAYERS
from tests.fuzz.onnx_network import OnnxNetwork
from tests.fuzz.options import options_of
from tests.fuzz.quantities import input_values
from tests.fuzz.tflite_layers import ANYTHING, IMAGES
from tests.fuzz.tflite_network import TfliteNetwork

Array = NDArray[Any]
_MODELS = {"tflite": "model.tflite", "onnx": "model.onnx"}


@dataclass(frozen=True)
class Case:
    """What is compiled, how, and run on what.

    name : says where it comes from: ``tflite-17``, ``onnx-3@qemu-m4``
    model : the file's bytes
    inputs : by name, three sets stacked
    options : keyword arguments of ``compile_model``
    spans : the numbers it was drawn from
    """

    name: str
    kind: str
    model: bytes
    inputs: dict[str, Array]
    options: dict[str, Any]
    spans: Spans

    @property
    def sets(self) -> list[dict[str, Array]]:
        count = len(next(iter(self.inputs.values())))
        return [{name: array[i] for name, array in self.inputs.items()} for i in range(count)]

    def save(self, folder: Path, problem: str) -> None:
        """Write model, inputs, options and what was found."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _MODELS[self.kind]).write_bytes(self.model)
        np.savez(folder / "inputs.npz", **self.inputs)
        texts = {"name": self.name, "kind": self.kind, "options": self.options, "spans": self.spans}
        (folder / "case.json").write_text(json.dumps(texts, indent=1) + "\n")
        (folder / "problem.txt").write_text(problem.rstrip() + f"\n\npython -m tests.fuzz --replay {folder}\n")


def draw_case(name: str, spans: Spans | None = None, options: dict[str, Any] | None = None) -> Case:
    """The case called ``tflite-SEED`` or ``onnx-SEED``, with ``@BOARD`` for one that runs there.

    spans, options : take the place of what the seed gives
    """
    head, _, board = name.partition("@")
    kind, _, number = head.partition("-")
    seed = int(number)
    draws = Draws(seed, spans)
    draws.next_span()
    drawn = options_of(draws) | ({"target": f"tinyml/{board}"} if board else {})
    network = TfliteNetwork(draws, ANYTHING, IMAGES) if kind == "tflite" else OnnxNetwork(draws, LAYERS)
    model = network.model()
    rng = np.random.default_rng(seed)
    inputs = {name: input_values(shape, dtype, zp, rng) for name, shape, dtype, zp in network.inputs()}
    return Case(name, kind, model, inputs, drawn if options is None else options, draws.spans)


def load_case(folder: Path) -> Case:
    """A case as ``save`` wrote it."""
    texts = json.loads((folder / "case.json").read_text())
    with np.load(folder / "inputs.npz") as arrays:
        inputs = {name: arrays[name] for name in arrays.files}
    model = (folder / _MODELS[texts["kind"]]).read_bytes()
    spans = tuple(tuple(span) for span in texts["spans"])
    return Case(texts["name"], texts["kind"], model, inputs, texts["options"], spans)
