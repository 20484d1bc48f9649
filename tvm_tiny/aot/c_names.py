"""Names from model files as C identifiers."""

from __future__ import annotations

import re
from collections.abc import Iterable

from tvm_tiny.errors import OptionError

_CPP_KEYWORDS = (
    "alignas alignof and and_eq asm auto bitand bitor bool break case catch char class compl const "
    "const_cast constexpr continue decltype default delete do double dynamic_cast else enum explicit "
    "export extern false float for friend goto if inline int long mutable namespace new noexcept not "
    "not_eq nullptr operator or or_eq private protected public register reinterpret_cast restrict return "
    "short signed sizeof static static_assert static_cast struct switch template this thread_local throw "
    "true try typedef typeid typename typeof union unsigned using virtual void volatile wchar_t while xor "
    "xor_eq"
)
_KEYWORDS = frozenset(_CPP_KEYWORDS.split(" "))


def c_identifiers(names: Iterable[str]) -> list[str]:
    """A distinct C (and C++) identifier for every name, as close to it as can be.

    Every run of other characters becomes one underscore; distinct names never share an identifier, not even in upper
    case, where they become macros.
    """
    taken: set[str] = set()
    result = []
    for name in names:
        base = re.sub(r"[^0-9A-Za-z]+", "_", name).strip("_") or "tensor"
        if base[0].isdigit():
            base = f"t_{base}"
        if base in _KEYWORDS:
            base = f"{base}_"
        candidate, n = base, 0
        while candidate.upper() in taken:
            n += 1
            candidate = f"{base}_{n}"
        taken.add(candidate.upper())
        result.append(candidate)
    return result


def check_module_name(name: str) -> str:
    """``name``, if C functions can begin with it.

    Raises
    ------
    OptionError : it is not an identifier
    """
    if re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name) is None:
        raise OptionError(
            f"--module-name {name!r} cannot be part of a C function name",
            hints=["use letters, digits and underscores, a letter first: --module-name keyword_spotting"],
        )
    return name
