"""JSON objects: what a stage says of its work, and what is read from configs and files."""

from typing import Any, TypeAlias

Facts: TypeAlias = dict[str, Any]  # a JSON object: figures, notes and tables for the manifest and the report
