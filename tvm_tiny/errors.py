"""Every error a user can meet: one class per cause, each with what to try."""

from __future__ import annotations

from collections.abc import Sequence


class TvmTinyError(Exception):
    """Base of all errors the command line prints without a traceback.

    Parameters
    ----------
    message : what went wrong, which value, which limit; names the file, operator or option
    hints : what to try, one line each; printed under "Things to try:"
    """

    def __init__(self, message: str, *, hints: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.hints = tuple(hints)


class ModelError(TvmTinyError):
    """The model file is missing, damaged, or of a kind that is not supported."""


class UnsupportedOperatorError(ModelError):
    """The model holds operators, or variants of them, that cannot be compiled; lists all."""


class InputDataError(TvmTinyError):
    """Input tensors given to a run do not fit the model."""


class TargetError(TvmTinyError):
    """Unknown target or board, or a board file that does not validate."""


class MemoryBudgetError(TvmTinyError):
    """The model does not fit the memory of the board, or the budget the user set."""


class ToolError(TvmTinyError):
    """A program that is needed (compiler, emulator) is missing or failed."""


class ProjectError(TvmTinyError):
    """A project directory, template or Project API server is not usable."""


class RunError(TvmTinyError):
    """The firmware faulted, timed out or answered nonsense."""


class DeviceTimeoutError(RunError):
    """A device did not answer, or did not take data, in time."""


class DeviceRestartedError(RunError):
    """A device has started anew: what it was given before is lost."""


class ArtifactError(TvmTinyError):
    """A Model Library Format archive is damaged or was not made by tvm-tiny."""


class OutputError(TvmTinyError):
    """An output path cannot be written."""


class OptionError(TvmTinyError):
    """An option's value is out of its range, or options contradict each other."""
