"""Queries by camera: all test pictures of an identity's LR camera, in place of those that a data set fixes."""

from __future__ import annotations

from dataclasses import replace

from intact_fast.data.catalogue import Catalogue
from intact_fast.errors import UserError


def ask_by_camera(catalogue: Catalogue, lr_camera: str) -> Catalogue:
    """Take the data set's own queries away, so that the LR camera divides the gallery's pictures of their people.

    These pictures become ``test``. Distractors, and people whom no own query shows, stay in the gallery. A data set
    without fixed queries divides by camera already, and stays what it is.

    Args:
        catalogue: Pictures in the data set's own roles.
        lr_camera: ``--data.lr-camera``.

    Raises:
        UserError: Queries are natively LR, or nothing says which camera is LR.
    """
    if catalogue.natively_lr:
        raise UserError(
            f"--data.test-queries camera: {catalogue.dataset} has natively low-resolution pictures of camera "
            f"{catalogue.default_lr_camera}, and all of them are queries already; leave the option out"
        )
    asked = {picture.pid for picture in catalogue.pictures if picture.subset == "query"}
    pictures = tuple(
        replace(picture, subset="test") if picture.subset == "gallery" and picture.pid in asked else picture
        for picture in catalogue.pictures
        if picture.subset != "query"
    )
    if lr_camera == "auto" and catalogue.default_lr_camera is None:
        cameras = sorted({picture.camera for picture in pictures if picture.subset == "test"})
        raise UserError(
            f"--data.test-queries camera: {catalogue.dataset} has no LR camera of its own; give --data.lr-camera as "
            f"{', '.join(map(str, cameras))} or random"
        )
    return replace(catalogue, pictures=pictures)


def seen_by_one_camera(catalogue: Catalogue) -> set[int]:
    """Name the people whose queries could have no match: their pictures, fixed ones aside, are of one camera."""
    cameras: dict[int, set[int]] = {}
    for picture in catalogue.pictures:
        if picture.subset in ("test", "all"):
            cameras.setdefault(picture.pid, set()).add(picture.camera)
    return {pid for pid, seen in cameras.items() if len(seen) == 1}
