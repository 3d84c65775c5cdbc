from __future__ import annotations

from pathlib import Path

import pytest

from data.loader_fixtures import SIZES, write_pictures


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_pictures(tmp_path_factory.mktemp("pictures"), SIZES * 3)
