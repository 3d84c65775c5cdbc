"""Several data sets in one training: who trains, under which numbers, from which files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from conftest import write_picture, write_picture_folder
from data.dataset_fixtures import write_caviar, write_cuhk03_np, write_duke, write_msmt17
from intact_fast.config.checks import check_data, source_of
from intact_fast.config.options import DataConfig
from intact_fast.data.manifest import Manifest, Source
from intact_fast.data.splits import obtain_manifest
from intact_fast.errors import UserError

Setting = tuple[DataConfig, Path]


@pytest.fixture
def setting(tmp_path: Path) -> Setting:
    """Duke and MSMT17 below one root, and two folders elsewhere."""
    root = tmp_path / "data"
    write_duke(root / "DukeMTMC-reID")
    write_msmt17(root / "MSMT17_V1")
    write_picture_folder(tmp_path / "plain", 4, 1)
    for pid in (1, 2):
        write_picture(tmp_path / "trains" / "train" / f"{pid}_cam9_x.png", pid)
    return DataConfig(dataset="dukemtmc", root=root), tmp_path


def joined(setting: Setting, *sources: str, **options: object) -> Manifest:
    config = replace(setting[0], sources=sources, **options)  # type: ignore[arg-type]
    check_data(config)
    return obtain_manifest(config)


def test_sources_add_training_people_alone(setting: Setting) -> None:
    config, place = setting
    alone = obtain_manifest(config)
    manifest = joined(setting, "msmt17", f"folder:{place / 'plain'}", f"folder:{place / 'trains'}")
    assert manifest.entries[: len(alone.entries)] == alone.entries, "the split itself is what it was"
    added = manifest.entries[len(alone.entries) :]
    assert {entry.split for entry in added} == {"train"}
    assert sorted({entry.pid for entry in added}) == list(range(-10, -1)), "3 of MSMT17, 4 and 2 of the folders"
    assert len(manifest.labels) == len(alone.labels) + 9
    assert not {entry.camera for entry in added} & {entry.camera for entry in alone.entries}
    assert len({entry.camera for entry in added}) == 3 + 2 + 1
    assert all((config.root / entry.path).is_file() for entry in manifest.entries)
    assert not any(Path(entry.path).is_absolute() for entry in manifest.entries)
    assert manifest.data == alone.data == "dukemtmc"
    assert [(one.dataset, one.pids) for one in manifest.header.sources] == [
        ("msmt17", (0, 1, 2)),
        ("folder", (0, 1, 2, 3)),
        ("folder", (1, 2)),
    ]
    own = obtain_manifest(DataConfig(dataset="folder", root=place / "plain"))
    assert manifest.header.sources[1].data == own.data, "so that its people are known again"


def test_a_manifest_keeps_its_sources(setting: Setting, tmp_path: Path) -> None:
    alone, manifest = obtain_manifest(setting[0]), joined(setting, "msmt17")
    assert manifest.hash != alone.hash
    manifest.save(tmp_path / "joined.jsonl")
    assert Manifest.load(tmp_path / "joined.jsonl") == manifest
    alone.save(tmp_path / "alone.jsonl")
    assert "sources" not in (tmp_path / "alone.jsonl").read_text()
    given = replace(setting[0], manifest=tmp_path / "joined.jsonl")
    assert obtain_manifest(given).header.sources == (Source("msmt17", "msmt17", (0, 1, 2)),)
    assert obtain_manifest(replace(given, sources=("msmt17",))).hash == manifest.hash
    with pytest.raises(UserError, match=r"--data\.sources viper: the manifest .*joined\.jsonl has msmt17"):
        obtain_manifest(replace(given, sources=("viper",)))


def test_people_whom_a_source_tests_do_not_train(setting: Setting) -> None:
    """Random halves are those of the source's own split, so that its test stays one. Native LR pictures stay out."""
    config = setting[0]
    write_caviar(config.root / "CAVIAR4REID")
    own = obtain_manifest(replace(config, dataset="caviar", val_fraction=0.0))
    trained = {entry.pid for entry in own.split("train")}
    (source,) = joined(setting, "caviar").header.sources
    assert set(source.pids) == trained
    assert len(joined(setting, "caviar").split("train")) - len(joined(setting).split("train")) == len(
        own.split("train")
    )
    (other,) = joined(setting, "caviar", split_seed=1).header.sources
    assert other.pids != source.pids


def test_a_folder_as_the_data_set_keeps_its_name(setting: Setting) -> None:
    config, place = setting
    folder = DataConfig(dataset="folder", root=place / "plain")
    alone = obtain_manifest(folder)
    manifest = obtain_manifest(replace(folder, sources=(f"msmt17:{config.root}",)))
    assert manifest.data == alone.data
    assert any(entry.path.startswith("../data/MSMT17_V1/train/") for entry in manifest.entries)


def test_a_root_that_is_a_link(setting: Setting, tmp_path: Path) -> None:
    config, place = setting
    (tmp_path / "deep" / "er").mkdir(parents=True)
    link = tmp_path / "deep" / "er" / "link"
    link.symlink_to(config.root)
    manifest = joined((replace(config, root=link), place), "msmt17", f"folder:{place / 'plain'}")
    assert all((link / entry.path).is_file() for entry in manifest.entries)
    assert manifest.hash == joined(setting, "msmt17", f"folder:{place / 'plain'}").hash


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        (("market",), "--data.sources market: give names of data sets (synthetic, viper, "),
        (("folder:",), "--data.sources folder:: give names of data sets"),
        (("dukemtmc",), "--data.sources dukemtmc: is there already"),
        (("msmt17", "msmt17"), "--data.sources msmt17: is there already"),
        (("msmt17", "msmt17:elsewhere"), "a second copy of msmt17"),
        (("cuhk03", "cuhk03-np"), "--data.sources cuhk03-np: shows the people of cuhk03"),
    ],
)
def test_mistakes_that_are_told_before_anything_is_read(sources: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError) as caught:
        check_data(DataConfig(dataset="dukemtmc", root=Path("nowhere"), sources=sources))
    assert message in str(caught.value)


def test_mistakes_that_the_files_show(setting: Setting) -> None:
    config, place = setting
    with pytest.raises(UserError, match=r"--data\.sources viper: --data\.root .*: no VIPeR here"):
        joined(setting, "viper")
    inside = replace(config, dataset="folder", root=place / "plain")
    for number in range(4):
        write_picture(place / "plain" / "more" / f"{number}_cam1_x.png", number)
    linked = place / "linked"
    linked.symlink_to(place / "plain")
    for name in ("plain/more", "linked/more"):
        with pytest.raises(UserError, match=r"is a picture of --data\.dataset or of another source, too"):
            obtain_manifest(replace(inside, sources=(f"folder:{place / name}",)))


def test_what_is_said_of_a_source(setting: Setting) -> None:
    config = setting[0]
    write_cuhk03_np(config.root / "detected")
    warnings: list[str] = []
    explained: list[str] = []
    obtain_manifest(replace(config, sources=("cuhk03-np",)), warn=warnings.append, explain=explained.append)
    assert "source cuhk03-np: 4 pictures of 2 people train as well" in explained
    assert any(text.startswith("source cuhk03-np: cuhk03-np (train): 4 pictures of 2 id") for text in warnings)


def test_source_of() -> None:
    assert source_of("msmt17") == ("msmt17", None)
    assert source_of("folder:/a:b/c") == ("folder", Path("/a:b/c"))


def test_copies_of_test_pictures_in_a_source_are_told(
    picture_folder: Callable[..., Path], setting: Setting, tmp_path: Path
) -> None:
    query = next((setting[0].root / "DukeMTMC-reID" / "query").iterdir())
    (tmp_path / "plain" / "77_cam1_copy.jpg").write_bytes(query.read_bytes())
    warnings: list[str] = []
    obtain_manifest(replace(setting[0], sources=(f"folder:{tmp_path / 'plain'}",)), warn=warnings.append)
    assert any("byte-identical copies" in text and "77_cam1_copy.jpg" in text for text in warnings)
