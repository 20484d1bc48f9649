"""Whether a network's weights can be in a board's flash: known before kernels are made for all of its layers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from tvm_tiny.errors import MemoryBudgetError
from tvm_tiny.targets import Board


class FlashBudget:
    """Refuses what surely does not fit, and nothing else: the sizes of all constants are known in the end only.

    Weights that are copied to RAM at start are in flash as well.

    Parameters
    ----------
    model : its name
    allow : what may be used beside the chip's own memories
    """

    def __init__(self, model: str, board: Board, allow: Sequence[str] = ()) -> None:
        self._model, self._board, self._allow = model, board, allow
        external = board.external_flash if "external" in allow else None
        self._left = board.flash_bytes + (external.size_bytes if external else 0)
        self._taken: set[bytes] = set()
        self._network_bytes = 0

    def begin(self, weights: Iterable[NDArray[np.int8]]) -> None:
        """Look at the weights of all layers, dead channels being gone.

        A kernel has each of them in a byte at least. How much is surely needed in all is more difficult: layers share
        constants, and channels of one value do without their weights. So one layer alone has to be too large.

        Raises
        ------
        MemoryBudgetError : it is
        """
        sizes = {_content(array): array.nbytes for array in weights}
        self._network_bytes = sum(sizes.values())
        if max(sizes.values(), default=0) > self._left:
            raise self._error()

    def take(self, constants: Iterable[NDArray[np.generic]]) -> None:
        """Count the constants of a kernel that is part of the program; equal ones are stored once.

        Raises
        ------
        MemoryBudgetError : with those counted before they are too many
        """
        for array in constants:
            content = _content(array)
            if content not in self._taken:
                self._taken.add(content)
                self._left -= array.nbytes
        if self._left < 0:
            raise self._error()

    def _error(self) -> MemoryBudgetError:
        return flash_error(self._model, f"about {self._network_bytes:,}", self._board, self._allow)


def flash_error(model: str, weights: str, board: Board, allow: Sequence[str]) -> MemoryBudgetError:
    """What to say of a model whose constants do not fit.

    Parameters
    ----------
    weights : how many bytes they are
    """
    hints = ["a board with more flash: tvmc targets"]
    if board.external_flash and "external" not in allow:
        hints.insert(0, "flash outside the chip too: --allow external")
    return MemoryBudgetError(
        f"'{model}' has {weights} bytes of weights; board '{board.name}' has {board.flash_bytes:,} bytes of flash",
        hints=hints,
    )


def _content(array: NDArray[np.generic]) -> bytes:
    digest = hashlib.sha256(array.dtype.name.encode())
    digest.update(np.ascontiguousarray(array).data)
    return digest.digest()
