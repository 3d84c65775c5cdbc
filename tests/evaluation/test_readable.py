"""`--evaluation.skip-corrupt`: unreadable test pictures are left out, counted and named, and by all processes alike."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from evaluation.evaluation_cases import Setting, Together
from intact_fast.config.options import EvaluationConfig
from intact_fast.data.manifest import Manifest
from intact_fast.errors import UserError
from intact_fast.evaluation import readable
from intact_fast.evaluation.evaluator import evaluate, features_of_critic
from intact_fast.evaluation.readable import leave_out_unreadable, readable_entries
from intact_fast.reporting.report import write_report
from intact_fast.reporting.tables import figures, unreadable_sentence

CONFIG = EvaluationConfig(batch_size=3)
SKIPPING = replace(CONFIG, skip_corrupt=True)


@pytest.fixture
def damaged(setting: Setting) -> tuple[Setting, str, str]:
    """A split with an unreadable query and an unreadable gallery picture, and their names."""
    _, manifest, root = setting
    names = [next(entry.path for entry in manifest.split(name)) for name in ("query", "gallery")]
    (root / names[0]).write_bytes(b"no picture")
    (root / names[1]).unlink()
    return setting, names[0], names[1]


@pytest.mark.parametrize("gallery", ["bypass", "auto"])
@pytest.mark.parametrize("name", ["query", "gallery"])
def test_without_the_option_the_error_names_file_and_option(
    setting: Setting,
    name: str,
    gallery: str,
) -> None:
    _, manifest, root = setting
    path = root / next(entry.path for entry in manifest.split(name))  # type: ignore[arg-type]
    path.write_bytes(b"no picture")
    with pytest.raises(
        UserError, match=rf"^{path}: unreadable picture .*or leave such test pictures out with --eval.*"
    ):
        evaluate(*setting, replace(CONFIG, gallery=gallery))  # type: ignore[arg-type]
    path.unlink()
    with pytest.raises(UserError, match=rf"^{path}: listed .* missing; check --data.root, or leave .*skip-corrupt$"):
        evaluate(*setting, replace(CONFIG, gallery=gallery))  # type: ignore[arg-type]


@pytest.mark.parametrize("world_size", [1, 2, 3, 40])
def test_the_others_are_ranked_as_if_those_were_not_there(damaged: tuple[Setting, str, str], world_size: int) -> None:
    (model, manifest, root), query, gallery = damaged
    found = evaluate(model, manifest, root, SKIPPING, processes=Together(world_size))
    smaller = replace(manifest, entries=tuple(e for e in manifest.entries if e.path not in (query, gallery)))
    expected = evaluate(model, smaller, root, CONFIG)
    assert found.manifest_hash == manifest.hash
    assert figures(found)["rows"] == figures(expected)["rows"]
    assert torch.equal(found.gallery_features, expected.gallery_features)
    assert figures(found)["unreadable"] == {"queries": [query], "gallery": [gallery]}


def test_table_and_reports_say_it(damaged: tuple[Setting, str, str], tmp_path: Path) -> None:
    setting_, query, gallery = damaged
    evaluation = evaluate(*setting_, SKIPPING)
    queries, pictures = (len(setting_[1].split(name)) for name in ("query", "gallery"))
    sentence = unreadable_sentence(evaluation)
    assert sentence == (
        f"Left out as unreadable: 1 of {queries} queries, 1 of {pictures} gallery pictures ({query}, {gallery})."
    )
    report = write_report(evaluation, tmp_path, {}, [])
    assert sentence in report.read_text()
    assert f"{queries - 1} queries, {pictures - 1} gallery pictures" in report.read_text()
    written = json.loads((tmp_path / "evaluation.json").read_text())
    assert written["unreadable"] == {"queries": [query], "gallery": [gallery]}


def test_whole_pictures_give_what_they_gave(setting: Setting) -> None:
    plain, skipping = (evaluate(*setting, config) for config in (CONFIG, SKIPPING))
    assert figures(plain) == figures(skipping)
    assert "unreadable" not in figures(skipping)
    assert unreadable_sentence(skipping) is None


def test_features_of_a_critic_have_the_same_rows(damaged: tuple[Setting, str, str]) -> None:
    setting_, *_ = damaged
    shared = features_of_critic(*setting_, SKIPPING)
    evaluation = evaluate(*setting_, SKIPPING, shared=shared)
    assert torch.equal(shared.gallery_features, evaluation.gallery_features)
    assert len(shared.query_features["hr"]) == len(evaluation.query_entries)


def test_a_split_without_readable_queries_is_told(setting: Setting) -> None:
    _, manifest, root = setting
    for entry in manifest.split("query"):
        (root / entry.path).write_bytes(b"")
    with pytest.raises(UserError, match=rf"skip-corrupt: none of the query pictures can be read; .* {root}$"):
        evaluate(*setting, SKIPPING)


def test_validation_leaves_out_its_own_pictures(setting: Setting) -> None:
    _, manifest, root = setting
    roles = {"query": "val_query", "gallery": "val_gallery"}
    held_out = Manifest(
        manifest.header,
        tuple(replace(entry, split=roles.get(entry.split, entry.split)) for entry in manifest.entries),  # type: ignore[arg-type]
    )
    first = held_out.split("val_gallery")[0].path
    (root / first).write_bytes(b"")
    kept, unreadable = leave_out_unreadable(held_out, root, 1, validation=True)
    assert (unreadable.queries, unreadable.gallery) == ((), (first,))
    assert len(kept.entries) == len(held_out.entries) - 1
    assert leave_out_unreadable(held_out, root, 1)[1].gallery == ()


def test_a_file_is_looked_at_again_when_it_has_changed(
    setting: Setting,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, manifest, root = setting
    entries = manifest.split("query")
    looked: list[int] = []
    ask: Callable[..., list[bool]] = readable.readable_images

    def counted(paths: list[Path], threads: int) -> list[bool]:
        looked.append(len(paths))
        return ask(paths, threads)

    monkeypatch.setattr(readable, "readable_images", counted)
    assert readable_entries(entries, root, 1) == entries
    assert readable_entries(entries, root, 1) == entries
    (root / entries[0].path).write_bytes(b"another size")
    assert readable_entries(entries, root, 1) == entries[1:]
    assert looked == [len(entries), 0, 1]
