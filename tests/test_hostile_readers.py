"""Whatever a small file holds, its reader gives a value or one line: hypothesis looks for what would be a traceback."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from intact_fast.config.command_line import read_config
from intact_fast.data.datasets.folder_table import read_table
from intact_fast.data.manifest import Manifest
from intact_fast.errors import UserError
from intact_fast.files import read_checkpoint
from intact_fast.reporting.report import read_notes
from intact_fast.serving.thresholds import read_thresholds

WORDS = ("path", "pid", "camid", "role", "r", "hash", "data", "training", "height", "factors", "thresholds", "digest")
PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.sampled_from(WORDS)
VALUES = st.recursive(
    PLAIN,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(WORDS) | st.text(), inner, max_size=4),
    max_leaves=12,
)
TEXTS = {
    "YAML": VALUES.map(lambda value: yaml.safe_dump(value, allow_unicode=True)),
    "JSON": VALUES.map(json.dumps),
    "lines": st.lists(VALUES.map(json.dumps), max_size=4).map("\n".join),
    "table": st.lists(st.lists(st.sampled_from(WORDS) | st.text(max_size=8), max_size=5).map(",".join)).map("\n".join),
}


@dataclass(frozen=True)
class Reader:
    """A file's name, what it is called with, and what its text may look like."""

    name: str
    read: Callable[[Path], Any]
    text: str


READERS = {
    "configuration": Reader("config.yaml", read_config, "YAML"),
    "manifest": Reader("manifest.jsonl", Manifest.load, "lines"),
    "notes": Reader("notes.json", lambda path: read_notes(path.parent), "JSON"),
    "table": Reader("pictures.csv", lambda path: read_table(path.parent, path), "table"),
    "thresholds": Reader("t.json", lambda path: read_thresholds(path, "0" * 64, "--thresholds"), "JSON"),
    "checkpoint": Reader("c.pt", lambda path: read_checkpoint(path, "--critic.checkpoint"), "JSON"),
}


@pytest.mark.parametrize("kind", READERS)
@settings(
    max_examples=60,
    derandomize=True,
    deadline=None,
    # each example writes the file anew
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_a_reader_gives_a_value_or_one_line(kind: str, data: st.DataObject, tmp_path: Path) -> None:
    reader = READERS[kind]
    text = TEXTS[reader.text].map(lambda text: text.encode("utf-8", errors="surrogatepass"))
    path = tmp_path / reader.name
    path.write_bytes(data.draw(text | st.binary(max_size=200)))
    said = ""
    try:
        reader.read(path)
    except UserError as error:
        said = str(error)
    assert "\n" not in said
    assert not said or reader.name in said
