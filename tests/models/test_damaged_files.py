"""A sample of the damaged files that ``make fuzz-damage`` tries, what it found, and that it finds."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import onnx
import pytest

from tests.fake_archive import archive_files, write_archive
from tests.fuzz.damage import readers, trial
from tests.fuzz.damage.onnx_sound import extra_models
from tests.fuzz.damage.readers import READERS, damaged
from tests.native import limits_address_space
from tests.onnx_qdq import OnnxWriter
from tests.tflite_writer import TfliteWriter
from tvm_tiny.aot import read_mlf
from tvm_tiny.cli import tensor_files
from tvm_tiny.compiler import compile_model
from tvm_tiny.errors import ArtifactError, InputDataError, ModelError
from tvm_tiny.frontend import load_model
from tvm_tiny.frontend.onnx_reader import parse_onnx

# Reading the damaged file takes from 0.01 s (requests) to 0.2 s (records, with which a model is compiled).
SAMPLES = (
    dict.fromkeys(READERS, 40) | dict.fromkeys(("tflite", "onnx", "archive", "board"), 20) | {"records": 5, "config": 5}
)


@pytest.mark.slow
@limits_address_space
@pytest.mark.parametrize("name", READERS)
def test_sample(name: str) -> None:
    outcomes = trial.run_mutants(name, 0, SAMPLES[name])
    problems = [f"--case {name}-{i}\n{outcome}" for i, outcome in enumerate(outcomes) if "\n" in outcome]
    assert not problems, "\n\n".join(problems)
    # Neither all of them nor none are refused, but where what is damaged is left out or answered.
    assert "read" in outcomes
    assert len(set(outcomes)) > 1 or name in ("log", "requests", "replies")


def test_extra_models_are_read(tmp_path: Path) -> None:
    for data in extra_models("model.onnx"):
        (tmp_path / "model.onnx").write_bytes(data)
        load_model(tmp_path / "model.onnx")


def test_a_number_is_always_the_same_file() -> None:
    for name in ("npz", "requests", "log"):
        assert damaged(name, 7) == damaged(name, 7)
        assert len({damaged(name, i)[1] for i in range(20)}) > 10


@limits_address_space
@pytest.mark.parametrize(
    ("read", "expected"),
    [
        (lambda _: [][1], "IndexError"),
        (lambda _: bytearray(trial.MEMORY_BYTES), "MemoryError"),
        (lambda path: path.parent.with_name("escaped").write_text("x"), "files outside of the folder"),
        (lambda _: [x for x in iter(int, 1) if x], "SIGPROF"),
        (lambda _: np.ctypeslib.ctypes.string_at(0), "SIGSEGV"),
    ],
)
def test_what_must_not_happen_is_found(
    read: Callable[[Path], Any], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "TIME_S", 1.0)
    monkeypatch.setitem(READERS, "log", replace(READERS["log"], read=lambda path, _: read(path)))
    monkeypatch.setattr(trial, "warm_up", lambda _: None)
    (outcome,) = trial.run_mutants("log", 0, 1)
    assert expected in outcome
    assert "\n" in outcome


def test_findings_are_made_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here every file without its first bytes is wrong: what else was changed goes back."""

    def read(path: Path, _: Random) -> None:
        assert path.read_bytes().startswith(b'{"task"')

    sound = READERS["log"].sound()[0]
    monkeypatch.setitem(READERS, "log", replace(READERS["log"], read=read))
    monkeypatch.setattr(trial, "damaged", lambda *_: (sound, b"x" + sound[1:50] + b"yz" + sound[52:]))
    data, problem = trial.shrink("log", 0, trial.problem_of("log", b"x"))
    assert data == b"x" + sound[1:]
    assert "AssertionError" in problem


@pytest.mark.parametrize(
    ("name", "kind", "text"),
    [
        ("../escaped", tarfile.REGTYPE, "may not be unpacked"),
        ("/tmp/tvm-tiny-escaped", tarfile.REGTYPE, "may not be unpacked"),
        ("link", tarfile.SYMTYPE, "may not be unpacked"),
        ("link", tarfile.LNKTYPE, "may not be unpacked"),
        ("device", tarfile.CHRTYPE, "may not be unpacked"),
        ("sparse", tarfile.GNUTYPE_SPARSE, "may not be unpacked|is not a Model Library Format archive"),
        ("./metadata.json", tarfile.REGTYPE, "twice"),
    ],
)
def test_archives_with_hostile_members(tmp_path: Path, name: str, kind: bytes, text: str) -> None:
    path = write_archive(tmp_path / "model.tar", archive_files())
    with tarfile.open(path, "a") as tar:
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, "/etc/passwd"
        tar.addfile(info, io.BytesIO())
    (tmp_path / "projects").mkdir()
    with pytest.raises(readers.server.ModelArchiveError, match=text):
        readers.generate(path, tmp_path / "projects" / "x")
    assert not list((tmp_path / "projects").iterdir())
    assert not (tmp_path / "escaped").exists()


def test_arrays_larger_than_their_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    header = b"\x93NUMPY\x01\x00\x46\x00{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,)}".ljust(80)
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("x.npy", header)
    with pytest.raises(InputDataError, match="no .npz file of plain arrays"):
        tensor_files.read_inputs(tmp_path / "x.npz", [])
    monkeypatch.setattr(tensor_files, "_MAX_BYTES", 1 << 16)
    with zipfile.ZipFile(tmp_path / "x.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", bytes(1 << 17))
    with pytest.raises(InputDataError, match="131,072 bytes, at most 65,536"):
        tensor_files.read_inputs(tmp_path / "x.npz", [])


def test_numbers_of_an_archive_have_bounds(tmp_path: Path) -> None:
    files = archive_files()
    metadata = json.loads(files["metadata.json"])
    for value in (1 << 50, float("nan"), -(1 << 70)):
        metadata["modules"]["default"]["tinyml"]["layers"][0]["macs"] = value
        path = write_archive(tmp_path / "model.tar", {**files, "metadata.json": json.dumps(metadata).encode()})
        with pytest.raises(ArtifactError, match="out of all bounds"):
            read_mlf(path)


@pytest.mark.parametrize(
    ("shape", "text"),
    [
        ((1, 300_000_000, 1, 4), r"'x' is 1x300000000x1x4. No side of an activation is longer than 1,048,576"),
        ((1, 1, 300_000_000, 4), "No side of an activation is longer"),
        ((1, 2, 2, 300_000_000), "No side of an activation is longer"),
        ((1, 200_000, 1, 4), r"rows in all, 'y' alone 200,000 in 4 planes; at most 262,144 can be planned"),
        ((1, 2, 1, 5_000), r"'y' alone 2 in 5,000 planes; at most .* and 4,096 planes"),
    ],
)
def test_sizes_that_a_few_bytes_can_say(shape: tuple[int, ...], text: str) -> None:
    """Each took all memory or hours before anything compared it with the board's memory."""
    writer = TfliteWriter()
    writer.output(writer.transpose(writer.input("x", shape, 0.1, 3), (0, 3, 1, 2), name="y"))
    with pytest.raises(ModelError, match=text):
        compile_model(writer.finish())


def test_windows_and_lists_that_a_few_bytes_can_say() -> None:
    writer = TfliteWriter()
    x = writer.input("x", (1, 4, 4, 1), 0.1, 3)
    writer.output(writer.max_pool2d(x, (1_000_000, 2), stride=(1, 1), padding="SAME"))
    with pytest.raises(ModelError, match="No side of the window is longer than 65,536"):
        load_model(writer.finish())
    writer = TfliteWriter()
    writer.output(writer.concatenation([writer.input("x", (1, 4), 0.1, 3)] * 600, 1))
    with pytest.raises(ModelError, match="it has 600 inputs, not 1 to 512"):
        load_model(writer.finish())


def external(tmp_path: Path, *, in_node: bool) -> onnx.ModelProto:
    """A model with weights in ``tmp_path/weights``, all zeros, and ``./weights``, where it must not look."""
    writer = OnnxWriter((1, 2, 4, 4))
    writer.node("Conv", ["x", weight := writer.weight(2, 2, 1, 1)], "y")
    model = writer.model("y")
    tensor = next(t for t in model.graph.initializer if t.name == weight)
    (tmp_path / "weights").write_bytes(bytes(len(tensor.raw_data)))
    onnx.external_data_helper.set_external_data(tensor, "weights")
    tensor.ClearField("raw_data")
    if in_node:
        model.graph.initializer.remove(tensor)
        model.graph.node.insert(0, onnx.helper.make_node("Constant", [], [weight], value=tensor))
    return model


@pytest.mark.parametrize("in_node", [False, True])
def test_external_data_lies_beside_the_model_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_node: bool
) -> None:
    model = external(tmp_path, in_node=in_node)
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    monkeypatch.chdir(tmp_path)
    parsed = parse_onnx(model.SerializeToString(), "'model.onnx'", tmp_path)
    assert b"EXTERNAL" not in str(parsed).encode()
    for given in (model, model.SerializeToString()):
        with pytest.raises(ModelError, match="keeps its weights in other files, and was not given as a path"):
            load_model(given)
    (tmp_path / "else").mkdir()
    (tmp_path / "else" / "model.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match="the external weights of 'model.onnx' cannot be read"):
        load_model(tmp_path / "else" / "model.onnx")


def test_functions_that_double() -> None:
    """Forty functions, each of which calls the next one twice, would be 2^40 operators."""
    opsets = [onnx.helper.make_opsetid("", 13), onnx.helper.make_opsetid("own", 1)]
    functions = []
    for i in range(40):
        name, domain = (f"f{i + 1}", "own") if i < 39 else ("Relu", "")
        calls = [onnx.helper.make_node(name, [a], [b], domain=domain) for a, b in ("xt", "ty")]
        functions.append(onnx.helper.make_function("own", f"f{i}", ["x"], ["y"], calls, opsets))
    edges = [[onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, [1, 2])] for n in "ab"]
    graph = onnx.helper.make_graph([onnx.helper.make_node("f0", ["a"], ["b"], domain="own")], "g", *edges)
    with pytest.raises(ModelError, match="over 100,000 operators come of them"):
        load_model(onnx.helper.make_model(graph, functions=functions, opset_imports=opsets))


def test_sides_that_come_out_negative() -> None:
    """onnx ends the process at a Slice of such an image."""
    nodes = [
        onnx.helper.make_node("AveragePool", ["a"], ["t"], kernel_shape=[9, 9]),
        onnx.helper.make_node("Slice", ["t", "start", "end", "axis"], ["b"]),
    ]
    tensors = [onnx.numpy_helper.from_array(np.int64([v]), k) for k, v in (("start", 0), ("end", 2), ("axis", 2))]
    edges = [onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, [1, 1, 4, 4]) for n in "ab"]
    graph = onnx.helper.make_graph(nodes, "g", edges[:1], edges[1:], initializer=tensors)
    data = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)]).SerializeToString()
    assert trial.problem_of("onnx", data) == "ModelError"  # in a process of its own
    with pytest.raises(ModelError, match="'t' has a negative size"):
        load_model(data)


def test_lists_that_stand_for_shapes() -> None:
    """Shape inference makes a side of each of their elements."""
    model = onnx.ModelProto.FromString(extra_models("model.onnx")[0])
    target = next(v for v in model.graph.value_info if v.name == "target")
    target.type.tensor_type.shape.dim[0].dim_value = 1 << 31
    with pytest.raises(ModelError, match="'target' is a list of 2,147,483,648 values"):
        load_model(model)
    made = folded(onnx.helper.make_node("Identity", ["c"], ["result"]), c=np.zeros((1, 2), np.float32))
    made.graph.node[1].CopyFrom(onnx.helper.make_node("Identity", ["long"], ["s"]))
    made.graph.initializer.append(onnx.numpy_helper.from_array(np.ones(100, np.int64), "long"))
    with pytest.raises(ModelError, match="'b' has 100 dimensions, at most 64"):
        load_model(made)


def test_functions_called_with_too_much() -> None:
    model = onnx.ModelProto.FromString(extra_models("model.onnx")[1])
    model.graph.node[0].input.append("x")
    with pytest.raises(ModelError, match="functions cannot be put in where they are called"):
        load_model(model)


def folded(*nodes: onnx.NodeProto, **constants: Any) -> onnx.ModelProto:
    """A model that reshapes its input to the shape of ``result``, which ``nodes`` make of constants."""
    shape = [onnx.helper.make_node("Shape", ["result"], ["s"]), onnx.helper.make_node("Reshape", ["a", "s"], ["b"])]
    tensors = [onnx.numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()]
    edges = [[onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, [1, 2])] for n in "ab"]
    graph = onnx.helper.make_graph([*nodes, *shape], "g", *edges, initializer=tensors)
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 21)])


def test_constants_that_grow() -> None:
    """Forty concatenations of a constant with itself, a matrix of two vectors, a repeated row, a scale in blocks."""
    node = onnx.helper.make_node
    doubled = [node("Concat", [f"c{i}"] * 2, [f"c{i + 1}" if i < 39 else "result"], axis=0) for i in range(40)]
    vector, many = np.ones((5000, 1), np.float32), np.zeros(100_000, np.int64)
    one, scale = np.ones((1, 1), np.int8), np.ones((1, 1), np.float32)
    for model in (
        folded(*doubled, c0=[1]),
        folded(node("Mul", ["u", "v"], ["result"]), u=vector, v=vector.T),
        folded(node("Gather", ["u", "i"], ["result"]), u=np.ones((2, 1000), np.float32), i=many),
        folded(node("QuantizeLinear", ["scale", "scale", "one"], ["result"], block_size=1 << 40), one=one, scale=scale),
    ):
        with pytest.raises(ModelError, match="'(c24|result)' and what is before it make too much of constants"):
            load_model(model)


def test_constants_that_do_not_fit_their_operator() -> None:
    model = folded(onnx.helper.make_node("Gather", ["u", "i"], ["result"]), u=np.ones(2, np.float32), i=[7])
    with pytest.raises(ModelError, match="Gather 'result' of constants cannot be computed: index 7 is out of bounds"):
        load_model(model)
