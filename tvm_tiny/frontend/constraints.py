"""Operator constraints: one small function each, whose docstring is also a line of docs/supported_ops.md.

A constraint looks at one ``Operator`` and returns what it found wrong, or None. Constraints of an operator run in the
order of their definition and stop at the first that fails, so later ones may rely on earlier ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from tvm_tiny.errors import UnsupportedOperatorError

from .graph import Graph, Operator, Tensor

Check = Callable[[Operator], str | None]

FULL_INTEGER_HINT = (
    "quantize to full int8: converter.optimizations = [tf.lite.Optimize.DEFAULT], a representative_dataset, and"
    " target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]"
)
# A longer image is a damaged shape, or sound that wants to be cut. Choosing kernels takes time and memory per column.
MAX_SIDE = 1 << 20
# As long as the longest image that is averaged as a whole.
MAX_WINDOW = 1 << 16
# Planning takes time by the square of the tensors that are put together, or that one is divided into.
MAX_PARTS = 1 << 9
DOCS_HINT = "docs/supported_ops.md lists every supported operator and its constraints"


@dataclass(frozen=True)
class Signature:
    """What an operator takes.

    inputs, outputs : fewest and most
    data : indices of the activation inputs; None for all
    parameters : indices of inputs that must be integer constants
    """

    inputs: tuple[int, int]
    data: tuple[int, ...] | None = (0,)
    parameters: tuple[int, ...] = ()
    outputs: tuple[int, int] = (1, 1)

    def data_of(self, op: Operator) -> list[Tensor]:
        indices = range(len(op.inputs)) if self.data is None else self.data
        return [t for i in indices if (t := op.input(i)) is not None]


@dataclass(frozen=True)
class Constraint:
    kinds: tuple[str, ...]
    rule: str
    check: Check
    hint: str | None


@dataclass(frozen=True)
class ConstraintSet:
    """The supported operators of one file format.

    signatures : operator kind -> what it takes
    hints : kind of an unsupported operator -> what to do about it
    """

    format: str
    signatures: dict[str, Signature]
    hints: dict[str, str] = field(default_factory=dict)
    constraints: list[Constraint] = field(default_factory=list)

    def rule(self, *kinds: str, hint: str | None = None, **limits: Any) -> Callable[[Check], Check]:
        """Decorator: ``check`` holds for ``kinds`` (all if none are given); ``limits`` fill in its docstring."""
        unknown = set(kinds) - set(self.signatures)
        if unknown:
            raise ValueError(f"constraint on unknown operators {sorted(unknown)}")

        def add(check: Check) -> Check:
            rule = " ".join((check.__doc__ or "").format(**limits).split())
            self.constraints.append(Constraint(kinds, rule, check, hint))
            return check

        return add

    def check(self, graph: Graph, model: str) -> None:
        """Raise one error that lists all operators of ``graph`` that cannot be compiled.

        Parameters
        ----------
        model : how to call the model in the message
        """
        lines: list[str] = []
        hints: list[str] = []
        for op in graph.operators:
            found = self._first_violation(op)
            if found is not None:
                lines.append(f"  - {op.kind} '{op.name}': {found[0]}")
                hints += [h for h in found[1:] if h and h not in hints]
        self.raise_if_any(lines, hints, model)

    def raise_if_any(self, lines: list[str], hints: list[str], model: str) -> None:
        """Raise the collected ``lines``, one per operator, if there are any."""
        if not lines:
            return
        count = "1 operator" if len(lines) == 1 else f"{len(lines)} operators"
        raise UnsupportedOperatorError(
            f"{count} of {model} cannot be compiled:\n" + "\n".join(lines), hints=[*hints, DOCS_HINT]
        )

    def _first_violation(self, op: Operator) -> tuple[str, str | None] | None:
        signature = self.signatures.get(op.kind)
        if signature is None:
            return "not a supported operator", self.hints.get(op.kind)
        arity = _check_arity(op, signature)
        if arity is not None:
            return arity, None
        for constraint in self.constraints:
            if constraint.kinds and op.kind not in constraint.kinds:
                continue
            found = constraint.check(op)
            if found is not None:
                return f"{found}. {constraint.rule}", constraint.hint
        return None

    def rules_of(self, kind: str) -> Iterable[str]:
        """The rules that hold for ``kind`` in particular."""
        return (c.rule for c in self.constraints if kind in c.kinds)

    def general_rules(self) -> Iterable[str]:
        """The rules that hold for every operator."""
        return (c.rule for c in self.constraints if not c.kinds)


def _check_arity(op: Operator, signature: Signature) -> str | None:
    given = [t is not None for t in op.inputs]
    low, high = signature.inputs
    if not low <= len(given) <= high or not all(given[:low]):
        return f"it has {sum(given)} inputs, not {low}" + (f" to {high}" if high > low else "")
    low, high = signature.outputs
    if not low <= len(op.outputs) <= high:
        return f"it has {len(op.outputs)} outputs, not {low}" + (f" to {high}" if high > low else "")
    return None


def long_side(tensors: Iterable[Tensor]) -> str | None:
    """The first tensor that is computed and has a side over ``MAX_SIDE``; constants are no longer than their file."""
    long = (t for t in tensors if t.data is None and max(t.shape, default=0) > MAX_SIDE)
    return next((f"'{t.name}' is {shape_text(t.shape)}" for t in long), None)


def shape_text(shape: Iterable[int]) -> str:
    """[1, 2, 3] as 1x2x3."""
    return "x".join(map(str, shape)) or "scalar"


def broadcast_shapes(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...] | None:
    """NumPy's broadcast shape, None where there is none."""
    rank = max(len(a), len(b))
    a, b = (1,) * (rank - len(a)) + a, (1,) * (rank - len(b)) + b
    if any(x != y and 1 not in (x, y) for x, y in zip(a, b, strict=True)):
        return None
    return tuple(y if x == 1 else x for x, y in zip(a, b, strict=True))
