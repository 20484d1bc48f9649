"""Names from model files become C identifiers."""

from __future__ import annotations

import pytest

from tvm_tiny.aot.c_names import c_identifiers, check_module_name
from tvm_tiny.errors import OptionError


def test_odd_names_become_identifiers() -> None:
    names = ["serving_default/input:0", "1st", "int", "", "höhe;x", "ok"]
    assert c_identifiers(names) == ["serving_default_input_0", "t_1st", "int_", "tensor", "h_he_x", "ok"]


def test_clashes_are_resolved_in_upper_case_too() -> None:
    assert c_identifiers(["a/b", "a:b", "A_B", "a_b_1"]) == ["a_b", "a_b_1", "A_B_2", "a_b_1_1"]


@pytest.mark.parametrize("name", ["", "1a", "a-b", "a b", "ä"])
def test_bad_module_names_are_refused(name: str) -> None:
    with pytest.raises(OptionError, match="cannot be part of a C function name"):
        check_module_name(name)
