"""A C is not tested on people it was trained on, and its classes are not taken for other people."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from intact_fast.config.options import DataConfig
from intact_fast.data.catalogue import Catalogue, Picture
from intact_fast.data.manifest import Entry, Manifest, Source
from intact_fast.data.splits import build_manifest
from intact_fast.errors import UserError
from intact_fast.models import build_osnet
from intact_fast.training.critic import critic_checkpoint
from intact_fast.training.known_people import people_of, people_of_sources, read_known_people, refuse_known_people


def split(seed: int, dataset: str = "viper", prefix: str = "") -> Manifest:
    pictures = tuple(
        Picture(f"{prefix}{pid}_{camera}.jpg", pid, camera, "all") for pid in range(20) for camera in (1, 2)
    )
    catalogue = Catalogue(dataset, pictures, default_lr_camera=1)
    return build_manifest(catalogue, DataConfig(val_fraction=0.3, split_seed=seed))


def critic_of(folder: Path, *trainings: Manifest) -> Path:
    path = folder / "critic.pt"
    known = [people_of(manifest) for manifest in trainings]
    torch.save(critic_checkpoint(build_osnet("osnet_x0_25", 10), "osnet_x0_25", known), path)
    return path


def test_its_own_split_is_fine(tmp_path: Path) -> None:
    path = critic_of(tmp_path, split(0))
    refuse_known_people(path, "--critic.checkpoint", split(0), keeps_classes=True)
    (people,) = read_known_people(path, "--critic.checkpoint")
    held_out = {entry.pid for entry in split(0).split("val_query")}
    assert len(held_out) == 3
    assert set(people.classes) - set(people.trained) == held_out


@pytest.mark.parametrize("dataset", ["viper", "folder"])
def test_another_split_of_the_same_people_is_refused(tmp_path: Path, dataset: str) -> None:
    path = critic_of(tmp_path, split(0, dataset))
    other = split(1, dataset)
    seen = {entry.pid for entry in split(0, dataset).split("train")} & {entry.pid for entry in other.split("query")}
    with pytest.raises(UserError, match=rf"--critic .*critic\.pt: was trained on {len(seen)} of the 10 test"):
        refuse_known_people(path, "--critic", other)


def test_people_of_further_sources_are_known_by_their_own_numbers(tmp_path: Path) -> None:
    """A C of Market-1501 and VIPeR is not tested on the people of VIPeR that it knows; its classes are of both."""
    trained = split(0).split("train")
    pids = tuple(sorted({entry.pid for entry in trained}))
    main = split(0, "market1501")
    entries = tuple(Entry(f"v{-pid}.png", pid, 9, "train", False, None) for pid in range(-1 - len(pids), -1))
    joined = Manifest(replace(main.header, sources=(Source("viper", "viper", pids),)), (*main.entries, *entries))
    path = tmp_path / "critic.pt"
    known = [*people_of_sources(joined), people_of(joined)]
    torch.save(critic_checkpoint(build_osnet("osnet_x0_25", 10), "osnet_x0_25", known), path)
    refuse_known_people(path, "--critic", joined, keeps_classes=True)
    refuse_known_people(path, "--critic", split(0))
    with pytest.raises(UserError, match="was trained on"):
        refuse_known_people(path, "--critic", split(1))
    with pytest.raises(UserError, match="was trained on"):
        refuse_known_people(path, "--critic", split(1, "market1501"))
    others = replace(joined.header, sources=(Source("viper", "viper", (*pids[:-1], 99)),))
    for other in (main, Manifest(others, joined.entries)):
        with pytest.raises(UserError, match="its classes are other people"):
            refuse_known_people(path, "--critic.checkpoint", other, keeps_classes=True)


def test_an_earlier_training_counts(tmp_path: Path) -> None:
    path = critic_of(tmp_path, split(0), split(0, "market1501"))
    with pytest.raises(UserError, match="was trained on"):
        refuse_known_people(path, "--critic.init", split(1))


@pytest.mark.parametrize("other", [split(1, "market1501"), split(1, "folder", "other")])
def test_other_data_is_no_reason(tmp_path: Path, other: Manifest) -> None:
    dataset = other.header.dataset
    path = critic_of(tmp_path, split(0, "viper" if dataset != "folder" else "folder"))
    refuse_known_people(path, "--critic.init", other)


def test_classes_of_other_people_are_refused(tmp_path: Path) -> None:
    trained = split(0)
    held_out = {entry.pid for entry in trained.split("val_query")}
    # tested on people that C never saw, trained on its others: as many classes, of other people
    entries = tuple(
        replace(entry, split="train" if entry.split in ("query", "gallery") else "query", is_lr=False, r=None)
        for entry in trained.entries
        if entry.split in ("query", "gallery") or entry.pid in held_out
    )
    path = critic_of(tmp_path, trained)
    refuse_known_people(path, "--critic.init", Manifest(trained.header, entries))
    with pytest.raises(UserError, match=r"classes are other people .*use --critic\.init"):
        refuse_known_people(path, "--critic.checkpoint", Manifest(trained.header, entries), keeps_classes=True)


def test_classes_of_another_data_set_are_refused(tmp_path: Path) -> None:
    path = critic_of(tmp_path, split(0), split(0, "market1501"))
    with pytest.raises(UserError, match="classes are other people"):
        refuse_known_people(path, "--critic.checkpoint", split(0), keeps_classes=True)


def test_own_roles_may_number_both_sides_alike(tmp_path: Path) -> None:
    pictures = tuple(
        Picture(f"{role}/{pid}_{camera}.jpg", pid, camera, role)
        for role in ("train", "query", "gallery")
        for pid in range(4)
        for camera in (1, 2)
    )
    manifest = build_manifest(Catalogue("folder", pictures, None), DataConfig(val_fraction=0))
    refuse_known_people(critic_of(tmp_path, manifest), "--critic.checkpoint", manifest, keeps_classes=True)


@pytest.mark.parametrize("says", [{}, {"trained_on": "market1501"}, {"trained_on": [{"pids": [1]}]}])
def test_a_file_that_does_not_say_is_taken(tmp_path: Path, says: dict[str, object]) -> None:
    path = tmp_path / "osnet.pth"
    torch.save({**says, "state_dict": build_osnet("osnet_x0_25", 10).state_dict()}, path)
    refuse_known_people(path, "--critic.checkpoint", split(1), keeps_classes=True)
