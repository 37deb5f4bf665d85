"""Where zelo's own files lie."""

from pathlib import Path


def config_folder() -> Path:
    """conf/ inside the installed package, or at the top of a checkout."""
    inside = Path(__file__).parent / "conf"
    return inside if inside.is_dir() else Path(__file__).parents[2] / "conf"
