"""``tvmc doctor`` sees whether TVM knows our targets."""

from __future__ import annotations

import sys

import pytest

from tvm_tiny.cli import doctor


def test_the_plugin_is_found() -> None:
    assert doctor._plugin().found == "Target('tinyml') resolves"


def test_a_broken_plugin_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    finding = doctor._plugin()
    assert finding.found is None
    assert "tvm.backends" in finding.remedy
