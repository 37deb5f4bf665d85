"""What a stage says of its work."""

from typing import Any, TypeAlias

Facts: TypeAlias = dict[str, Any]  # a JSON object: figures, notes and tables for the manifest and the report
