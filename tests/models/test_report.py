"""``tvmc report``: what it says of the bundled model, and how a real browser shows it."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import onnx
import pytest

from tests.browser import Browser
from tests.models.test_fusion import residual_network
from tvm_tiny import demo
from tvm_tiny.aot import module_info, read_mlf
from tvm_tiny.cli.main import main
from tvm_tiny.compiler import compile_model
from tvm_tiny.report.content import report_content
from tvm_tiny.report.graph_onnx import graph_onnx
from tvm_tiny.report.graph_svg import draw_graph
from tvm_tiny.report.render import render_html, render_markdown

VOID = {"meta", "link", "br"}


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = compile_model(demo.TFLITE, "tinyml/qemu-m4")
    return model.export(tmp_path_factory.mktemp("report") / "model.tar")


@pytest.fixture(scope="module")
def residual() -> tuple[dict[str, Any], dict[str, Any]]:
    """Content and metadata of a network with a branch, rows in stages, and patches."""
    info = compile_model(residual_network(), "tinyml/qemu-m4", effort="fast", patch="2x2@t_7").report()
    return report_content("default", info), info


class _Balanced(HTMLParser):
    """Refuses a page whose elements do not close in order, or that asks for anything from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: set[str] = set()
        self.anchors: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        assert "src" not in values
        assert tag not in ("img", "iframe", "object")
        href = values.get("href") or ""
        assert href.startswith(("#", "data:")) or not href
        if href.startswith("#"):
            self.anchors.add(href[1:])
        self.ids.add(values.get("id") or "")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def _check_page(page: str) -> None:
    parser = _Balanced()
    parser.feed(page)
    assert parser.open == []
    assert parser.anchors <= parser.ids
    assert "url(" not in page
    assert "@import" not in page


def test_json(archive: Path, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    assert main(["report", str(archive), "-o", str(path)]) == 0
    content = json.loads(path.read_text())
    _, info = module_info(read_mlf(archive))
    assert (content["kind"], content["format"]) == ("tvm-tiny report", 1)
    assert content["instructions"] is None
    assert content["symbols"] is None
    assert content["ram"]["arena_bytes"] == content["plan"]["arena_bytes"] == info["arena_bytes"]
    assert [layer["name"] for layer in content["layers"]] == [layer["name"] for layer in info["layers"]]
    assert [layer["inputs"] for layer in content["layers"]] == [[i - 1] for i in range(10)]
    assert [i for stage in content["stages"] for i in stage["layers"]] == list(range(10))
    assert content["front"]["chosen"]["ram_bytes"] == info["arena_bytes"]
    assert content["front"]["fronts"]["resident"]


def test_branches_stages_and_patches_are_drawn(residual: tuple[dict[str, Any], dict[str, Any]]) -> None:
    content, _ = residual
    add = next(layer for layer in content["layers"] if layer["op"] == "qadd")
    assert sorted(add["inputs"])[0] < add["index"] - 1
    root = ET.fromstring(draw_graph(content).to_text())
    svg = "{http://www.w3.org/2000/svg}"
    drawn = [r.get("class") for r in root.iter(f"{svg}rect")]
    several = [stage for stage in content["stages"] if len(stage["layers"]) > 1]
    assert drawn.count("stage") == len(several) >= 1
    assert drawn.count("patch") == sum(len(stage["patches"]) for stage in several) >= 1
    edges = [e for e in root.iter(f"{svg}polyline") if e.get("class") == "edge"]
    assert len(edges) == sum(len(layer["inputs"]) for layer in content["layers"])
    assert sum(len(e.get("points", "").split()) == 4 for e in edges) >= 1  # past others


def test_pages_are_whole_and_need_nothing(residual: tuple[dict[str, Any], dict[str, Any]]) -> None:
    content, info = residual
    page = render_html(content, info)
    _check_page(page)
    hostile = {**content, "model": "<script>|`x"}
    page = render_html(hostile, {**info, "model": "<script>|`x"})
    _check_page(page)
    assert "&lt;script&gt;" in page
    assert render_markdown(hostile).startswith("### <script>\\|'x on ")


def test_streamed_input_is_no_layer() -> None:
    info = compile_model(demo.TFLITE, "tinyml/qemu-m4", stream_input=True).report()
    content = report_content("default", info, front="fast")
    assert [i for stage in content["stages"] for i in stage["layers"]] == list(range(len(content["layers"])))
    assert content["layers"][0]["inputs"] == [-1]
    assert list(content["front"]["fronts"]) == ["streamed"]
    _check_page(render_html(content, info))


@pytest.mark.qemu
def test_run(archive: Path, tmp_path: Path, tool: Callable[[str], str]) -> None:
    tool("qemu-system-arm")
    path = tmp_path / "report.json"
    assert main(["report", str(archive), "--run", "--front", "off", "-o", str(path)]) == 0
    content = json.loads(path.read_text())
    assert content["front"] is None
    assert 90_000 < content["instructions"] < 100_000
    for layer in content["layers"]:
        assert sum(layer["instruction_mix"].values()) == layer["instructions"]
    assert sum(layer["share"] for layer in content["layers"]) == pytest.approx(1, abs=0.01)
    by_part = {p: sum(s["size_bytes"] for s in content["symbols"] if s["part"] == p) for p in ("code", "weights")}
    assert by_part == {"code": content["flash"]["code_bytes"], "weights": content["flash"]["weights_bytes"]}
    assert any(s["name"].startswith("tvmgen_default___tvm_main__") for s in content["symbols"])
    markdown = render_markdown(content)
    assert f"| instructions | {content['instructions']:,} | " in markdown
    tables = [line for line in markdown.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in tables if re.match(r"\| \d+ \|", line)} == {9}


def test_layers_alone(archive: Path, tmp_path: Path) -> None:
    path = tmp_path / "layers.svg"
    assert main(["report", str(archive), "-o", str(path)]) == 0
    texts = [t.text or "" for t in ET.fromstring(path.read_text()).iter("{http://www.w3.org/2000/svg}text")]
    assert {"0 conv2d", "stage 0: 4 layers in 10 steps, rolling buffers 640 B", "9 softmax"} <= set(texts)


def test_wrong_uses(archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(archive), "-o", str(tmp_path / "report.pdf")]) == 1
    assert "a report ends in .html, .json, .md or .svg" in capsys.readouterr().err
    assert main(["report", str(archive), "-o", str(tmp_path / "r.md"), "--board", "qemu-m3"]) == 1
    assert "--board and --inputs are for a run" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_in_a_browser(residual: tuple[dict[str, Any], dict[str, Any]], chromium: str, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    page.write_text(render_html(*residual), encoding="utf-8")
    colours = []
    with Browser(chromium, tmp_path / "profile") as browser:
        for width, dark in ((390, False), (390, True), (1280, False)):
            browser.show(width, 844, dark=dark)
            assert browser.open(page).messages == ()
            assert browser.evaluate("document.documentElement.scrollWidth") <= width
            colours.append(browser.evaluate("getComputedStyle(document.body).backgroundColor"))
        browser.evaluate("[...document.querySelectorAll('#layers th')].find(x => x.innerText == 'MACs').click()")
        cells = "[...document.querySelectorAll('#layers tbody tr')].map(x => Number(x.cells[3].dataset.v))"
        macs = browser.evaluate(cells)
        assert macs == sorted(macs, reverse=True)
        assert macs[0] > 0
        click = "dispatchEvent(new MouseEvent('click', {bubbles: true}))"
        browser.evaluate(f"document.querySelector('#graph rect.stage').{click}")
        assert browser.evaluate("document.getElementById('tip').textContent").startswith("stage ")
        # The measurement sees what is wrong: a script that fails, and something too wide.
        bad = tmp_path / "bad.html"
        bad.write_text(page.read_text().replace("</main>", "<p style='width:2000px'>x</p><script>f()</script></main>"))
        browser.show(390, 844)
        assert "f is not defined" in "".join(browser.open(bad).messages)
        assert browser.evaluate("document.documentElement.scrollWidth") > 390
    assert colours[0] == colours[2] != colours[1]


def test_an_archive_compared_with_its_own_report(
    archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "report.json"
    assert main(["report", str(archive), "--front", "off", "-o", str(path)]) == 0
    assert main(["compare", str(path), str(archive), "--max-growth", "arena=0%,weights=0,macs=0"]) == 0
    assert "no layer differs" in capsys.readouterr().out


def test_the_graph_as_onnx(archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "graph.onnx"
    assert main(["inspect", str(archive), "--dump-graph", str(path)]) == 0
    model = onnx.load(path)
    onnx.checker.check_model(model)
    _, info = module_info(read_mlf(archive))
    nodes = {n.name: n for n in model.graph.node if n.op_type != "reshape"}
    assert list(nodes) == [layer["name"] for layer in info["layers"]]
    shapes = {
        v.name: ([d.dim_value for d in v.type.tensor_type.shape.dim], v.type.tensor_type.elem_type)
        for v in (*model.graph.input, *model.graph.output, *model.graph.value_info)
    }
    weights = {i.name: list(i.dims) for i in model.graph.initializer}
    stages = info["plan"]["stages"]
    for layer in info["layers"]:
        node = nodes[layer["name"]]
        values = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        assert (node.domain, node.op_type) == ("tvm_tiny", layer["op"])
        assert shapes[node.output[0]] == (layer["output_shape"], onnx.TensorProto.INT8)
        assert layer["name"] in stages[values["stage"]]["operators"]
        places = {t["name"]: t for t in stages[values["stage"]]["tensors"]}
        place = places.get(layer["name"])
        if place is not None:
            assert (values["offsets"], values["memories"]) == ([place["offset"]], [place["memory"].encode()])
            assert values["buffers"] == [b"rolling buffer" if place["ring"] else b"tensor"]
    assert weights["conv_0/weight"] == [8, 3, 3, 1]
    assert weights["conv_0/bias"] == [8]
    assert [v.name for v in model.graph.input] == ["image"]
    assert [v.name for v in model.graph.output] == ["probabilities"]
    assert main(["inspect", str(archive), "--dump-graph", str(tmp_path)]) == 1
    assert "--dump-graph: '" in capsys.readouterr().err


def test_patches_in_the_graph_as_onnx(tmp_path: Path) -> None:
    model = compile_model(residual_network(), "tinyml/qemu-m4", effort="fast", patch="2x2@t_7")
    dumped = graph_onnx("default", model.report(), model.files["src/default.relax.json"].decode())
    patched = [n for n in dumped.graph.node if any(a.name == "patch_columns" for a in n.attribute)]
    groups = [g for stage in model.report()["plan"]["stages"] for g in stage["groups"]]
    assert {n.name for n in patched} == {name for g in groups for name in g["operators"]} != set()
    assert any(a.strings == [b"new columns"] for n in patched for a in n.attribute)
