"""How loops are compiled: by numba, once per installation, when the module that has them is imported."""

import logging
from collections.abc import Callable
from typing import Any

from numba import njit

logging.getLogger("numba").setLevel(logging.WARNING)  # at DEBUG it logs every instruction


def compiled(signature: Any = None) -> Callable[[Any], Any]:
    """The decorator of a loop with this signature, kept on disk where there is a place for it."""

    def decorated(function: Any) -> Any:
        try:
            return njit(signature, cache=True, error_model="numpy", nogil=True)(function)
        except RuntimeError:  # an installation that cannot be written, and no home folder
            return njit(signature, error_model="numpy", nogil=True)(function)

    return decorated
