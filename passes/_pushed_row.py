"""When a streamed input's row arrives: the ticks that it makes possible, and what follows the last one."""

from __future__ import annotations

from typing import Any

from tvm import tirx

from tvm_tiny import planner


class PushedRow:
    """The row that a call of main brings.

    The first group of the first stage delivers row ``y`` at tick ``period * y`` and is the first to fire there. So
    between two rows the network stands right before such a tick, where the plan has the next row's place free.

    Attributes
    ----------
    number : parameter of main, 0 to the number of rows minus 1
    """

    def __init__(self, plan: planner.Plan) -> None:
        self.number = tirx.Var("pushed_row", "int32")
        self._stage = plan.stages[0]
        self._source = self._stage.groups[0].schedule
        assert not plan.graph.ops[self._source.runs[0].op].inputs
        assert self._source.delay == self._stage.begin, "something runs before the first row"

    def ticks(self) -> tuple[Any, Any]:
        """First tick, counted from the stage's first, and number of ticks until the next row is due."""
        period, last = self._source.period, self._source.last
        behind_last = self._stage.end - self._stage.begin + 1 - period * last
        return self.number * period, tirx.Select(self.number == last, behind_last, period)

    def after_last(self, *statements: tirx.Stmt) -> tirx.Stmt:
        """What is to be done once all rows are there."""
        if not statements:
            return tirx.Evaluate(0)
        return tirx.IfThenElse(self.number == self._source.last, tirx.stmt_seq(*statements), None)
