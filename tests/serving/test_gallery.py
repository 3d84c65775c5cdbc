"""The features of a folder of pictures, kept in a file and searched."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from conftest import write_picture
from intact_fast import SRReID
from intact_fast.models import build_osnet
from intact_fast.serving.gallery import GalleryIndex, Unreadable, list_pictures


def test_an_interrupted_index_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("intact_fast.serving.gallery._SAVE_EVERY", 2)
    model = SRReID(build_osnet("osnet_x0_25", 5), None, (48, 32), batch_size=2)
    folder = tmp_path / "in"
    for i in range(5):
        write_picture(folder / f"{i}.jpg", seed=i)
    pictures = list_pictures(folder).pictures

    def interrupt(count: int) -> None:
        interrupt.done += count  # type: ignore[attr-defined]
        if interrupt.done >= 4:  # type: ignore[attr-defined]
            raise KeyboardInterrupt

    interrupt.done = 0  # type: ignore[attr-defined]
    with pytest.raises(KeyboardInterrupt):
        GalleryIndex(folder, "x", tmp_path / "i").update(model, pictures, Unreadable(), interrupt)
    update = GalleryIndex(folder, "x", tmp_path / "i").update(model, pictures, Unreadable())
    assert (update.computed, update.kept, update.dropped) == (3, 2, 0)


def test_faiss_gives_the_lists_of_brute_force(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("faiss")
    gallery = GalleryIndex(tmp_path, "x")
    generator = torch.Generator().manual_seed(0)
    gallery.features = torch.nn.functional.normalize(torch.randn(500, 32, generator=generator))
    gallery.names = [str(i) for i in range(500)]
    queries = torch.nn.functional.normalize(torch.randn(20, 32, generator=generator))
    scores, rows = gallery.search(queries, 7)
    monkeypatch.setattr("intact_fast.serving.gallery._FAISS_FROM", 1)
    faiss_scores, faiss_rows = gallery.search(queries, 7)
    assert torch.equal(rows, faiss_rows)
    torch.testing.assert_close(scores, faiss_scores)
    expected = queries @ gallery.features.T
    assert torch.equal(rows, expected.argsort(dim=1, descending=True)[:, :7])
