from __future__ import annotations

from pathlib import Path

import pytest

from data.loader_cases import SIZES, write_pictures


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two dozen pictures of several sizes; they are for reading."""
    return write_pictures(tmp_path_factory.mktemp("pictures"), SIZES * 3)
