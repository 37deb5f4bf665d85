# pyarrow makes its compute functions at import, so that no type checker can see them.
from typing import Any

def __getattr__(name: str) -> Any: ...
