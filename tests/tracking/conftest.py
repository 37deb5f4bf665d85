"""What tests of sweeps share."""

from collections.abc import Iterator

import pytest


@pytest.fixture
def own_processes() -> Iterator[None]:
    """joblib's processes end with the test: kept, they would serve the next one from this one's folder and store."""
    yield
    joblib = pytest.importorskip("joblib.externals.loky")
    joblib.get_reusable_executor().shutdown(wait=True)
