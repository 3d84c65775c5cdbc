"""Identity and camera from the names of files and folders."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from intact_fast.config.checks import compile_name_pattern
from intact_fast.data.catalogue import Subset
from intact_fast.data.datasets.folder_ids import value_of
from intact_fast.data.datasets.folder_roles import ROLES, role_of_word, roles_of_folders, without_roles
from intact_fast.data.datasets.folder_rows import NO_CAMERA, NO_CAMERA_NOTE, Reading, Row, camera_number
from intact_fast.data.picture_files import list_pictures
from intact_fast.errors import UserError

_OWN = re.compile(r"([^_]+)_cam(?:era)?[_-]?(\d+)(?:[_\-. ].*)?", re.IGNORECASE | re.DOTALL)
_MARKET = re.compile(r"(-1|\d+)_c(\d+)(s\d+)?(?:[_\-. ].*)?", re.IGNORECASE | re.DOTALL)
_CAMERA_IN_NAME = re.compile(r"(?:^|(?<=[_\-. ]))(?:cam(?:era)?|c)[_-]?(\d+)(?:s\d+)?(?=$|[_\-. ])", re.IGNORECASE)
_CAMERA_FOLDER = re.compile(r"(?:cam(?:era)?|c|view)[ _-]?(\d+)", re.IGNORECASE)
_PERSON_FOLDER = re.compile(r"(?:person|pid|id|identity|subject)[ _-]?(\d+)", re.IGNORECASE)
_FORMS_TEXT = "0001_cam1_x.jpg, 0001_c1s1_000151_00.jpg, or cam1_x.jpg in a folder of each person"
_REMEDY = "rename it, list it in pictures.csv, or give --data.name-pattern"
_TRIED = 3


class _Found(NamedTuple):
    pid: str
    camera: str
    is_distractor: bool = False
    role: str = ""


class _Form(NamedTuple):
    """A way of naming pictures."""

    example: str
    read: Callable[[PurePosixPath], _Found | None]


def _read_own(path: PurePosixPath) -> _Found | None:
    match = _OWN.fullmatch(path.stem)
    # cam1_cam2_x names no person
    return _Found(match[1], match[2]) if match and not _CAMERA_FOLDER.fullmatch(match[1]) else None


def _read_market(path: PurePosixPath) -> _Found | None:
    match = _MARKET.fullmatch(path.stem)
    if match is None:
        return None
    # without a sequence it is a form of many sets, and people may count from 0
    return _Found(match[1], match[2], match[3] is not None and value_of(match[1]) == 0)


def _read_person_folder(path: PurePosixPath) -> _Found | None:
    folders = without_roles(path.parent.parts)
    people = [folder for folder in folders if not _CAMERA_FOLDER.fullmatch(folder)]
    cameras = _CAMERA_IN_NAME.findall(path.stem) or [
        match[1] for folder in folders if (match := _CAMERA_FOLDER.fullmatch(folder))
    ]
    if not people or len({int(camera) for camera in cameras}) != 1:
        return None
    return _Found(people[-1], cameras[0])


_FORMS = (
    _Form("0001_cam1_x.jpg", _read_own),
    _Form("0001_c1s1_000151_00.jpg", _read_market),
    _Form("0001/cam1_x.jpg", _read_person_folder),
)
"""In the order in which they are tried: the first that fits every picture is taken."""


def _read_person_alone(path: PurePosixPath) -> _Found | None:
    folders = without_roles(path.parent.parts)
    has_camera = _CAMERA_IN_NAME.search(path.stem) or any(map(_CAMERA_FOLDER.fullmatch, folders))
    return _Found(folders[-1], NO_CAMERA) if folders and not has_camera else None


_WITHOUT_CAMERAS = _Form("0001/x.jpg", _read_person_alone)
"""Tried where no picture has a camera: any name in any folder fits."""


def _pattern_form(text: str) -> _Form:
    pattern = compile_name_pattern(text)
    has_camera, has_role = ("camera" in pattern.groupindex, "role" in pattern.groupindex)

    def read(path: PurePosixPath) -> _Found | None:
        match = pattern.search(str(path) if "/" in text else path.name)
        camera = match["camera"] if match and has_camera else NO_CAMERA
        if match is None or match["pid"] is None or camera is None:
            return None
        return _Found(match["pid"], camera, role=(match["role"] or "") if has_role else "")

    return _Form(text, read)


def read_names(root: Path, name_pattern: str | None) -> Reading:
    """Read identities and cameras from the names of all pictures below a folder, and roles from its folders.

    Args:
        root: The folder.
        name_pattern: A regular expression with the group ``pid``, and ``camera`` and ``role`` where these are in the
            names. It is searched in the path below the root where it holds a slash, else in the file name. None
            tries the known forms.

    Raises:
        UserError: There is no picture, a name does not follow the form, or roles contradict each other.
    """
    listing = list_pictures(root, recursive=True)
    paths = [PurePosixPath(path.relative_to(root).as_posix()) for path in listing.pictures]
    if not paths:
        return Reading([], (), left_out=listing.left_out)
    form, found = _choose_form(root, paths, name_pattern)
    warnings = _other_people(root, paths, found) if form.read in (_read_own, _read_market) else ()
    notes = [f"identity and camera by names like {form.example}"]
    if form is _WITHOUT_CAMERAS:
        notes = [f"identity by the folders of names like {form.example}; {NO_CAMERA_NOTE}"]
    roles: list[Subset]
    if any(one.role for one in found):
        roles = [_role(root, path, one.role) for path, one in zip(paths, found, strict=True)]
        notes.append("roles by --data.name-pattern")
    else:
        roles, text = roles_of_folders([str(path) for path in paths])
        notes.append(text)
    if name_pattern is not None:
        notes[0] = f"identity and camera by --data.name-pattern {name_pattern}"
        if "camera" not in compile_name_pattern(name_pattern).groupindex:
            notes[0] = f"identity by --data.name-pattern {name_pattern}; {NO_CAMERA_NOTE}"
        tried = zip(paths[:_TRIED], found, strict=False)
        notes += [f"{path}: identity {one.pid}, camera {one.camera}" for path, one in tried]
    rows = []
    for path, one, role in zip(paths, found, roles, strict=True):
        place = str(root / path)
        rows.append(Row(str(path), one.pid, camera_number(one.camera, place), role, place, one.is_distractor))
    return Reading(rows, tuple(notes), warnings, listing.left_out)


def _choose_form(root: Path, paths: list[PurePosixPath], name_pattern: str | None) -> tuple[_Form, list[_Found]]:
    forms = _FORMS if name_pattern is None else (_pattern_form(name_pattern),)
    readings: list[tuple[_Form, list[_Found | None]]] = []
    for form in forms:
        found = [form.read(path) for path in paths]
        known = [one for one in found if one is not None]
        if len(known) == len(paths):
            return form, known
        readings.append((form, found))
    form, found = min(readings, key=lambda reading: reading[1].count(None))
    if name_pattern is None and not any(found):
        alone = [one for path in paths if (one := _WITHOUT_CAMERAS.read(path)) is not None]
        if len(alone) == len(paths):
            return _WITHOUT_CAMERAS, alone
    known = [one for one in found if one is not None]
    failed = root / paths[found.index(None)]
    count = f"{len(paths) - len(known):,} of {len(paths):,} pictures do not follow it"
    if name_pattern is not None:
        raise UserError(f"{failed}: does not match --data.name-pattern {name_pattern!r} ({count}); correct either")
    expected = form.example if known else _FORMS_TEXT
    raise UserError(f"{failed}: expected a name like {expected} ({count}); {_REMEDY}")


def _other_people(root: Path, paths: list[PurePosixPath], found: list[_Found]) -> tuple[str, ...]:
    """Find folders that number people in another way than the names in them, where a name may well be a frame's.

    Returns:
        A warning where folders are plain numbers, which may be days as well.

    Raises:
        UserError: A folder says that it is a person's, as in ``person_3/0007_cam1.jpg``.
    """
    numbered: dict[str, None] = {}
    for path, one in zip(paths, found, strict=True):
        for folder in path.parent.parts:
            person = _PERSON_FOLDER.fullmatch(folder)
            if person and value_of(person[1]) != value_of(one.pid):
                raise UserError(
                    f"{root / path}: the folder says {folder}, the name says identity {one.pid}; rename one of them, "
                    "list the pictures in pictures.csv, or give --data.name-pattern"
                )
            if folder.isdecimal() and value_of(folder) != value_of(one.pid):
                numbered[folder] = None
    if len(numbered) < 2:
        return ()
    return (
        f"the folders {', '.join(list(numbered)[:_TRIED])} hold pictures whose names give other identities, and the "
        "names count; where each folder is a person, give --data.name-pattern "
        "'(?P<pid>[0-9]+)/.*cam(?P<camera>[0-9]+)'",
    )


def _role(root: Path, path: PurePosixPath, word: str) -> Subset:
    role = role_of_word(word)
    if role is None:
        raise UserError(
            f"{root / path}: role {word!r} by --data.name-pattern; its group role has to give one of {', '.join(ROLES)}"
        )
    return role
