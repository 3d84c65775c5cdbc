"""What a file name or a line of a table says of one picture, before its person has a number."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from intact_fast.data.catalogue import Subset
from intact_fast.data.datasets.folder_ids import JUNK, check_pid, value_of
from intact_fast.data.picture_files import LeftOut
from intact_fast.errors import UserError

_CAMERAS = 2**31
"""Camera numbers from here on are something else, such as a time."""
_LONGEST = 40
"""Characters of a camera's number, with the zeros before it."""


NO_CAMERA = "0"
"""Camera of all pictures where nothing gives them one."""
NO_CAMERA_NOTE = f"no camera ids, so that all pictures count as camera {NO_CAMERA}"


@dataclass(frozen=True)
class Row:
    """One picture.

    Attributes:
        path: Relative to the root, with forward slashes.
        pid: Identity as it is written.
        camera: Camera number.
        subset: Role, ``all`` for none.
        place: File, or table and line, for errors.
        is_distractor: Whether it shows somebody who is nobody's match.
    """

    path: str
    pid: str
    camera: int
    subset: Subset
    place: str
    is_distractor: bool = False


@dataclass(frozen=True)
class Reading:
    """The rows of a folder.

    Attributes:
        rows: In the order of the catalogue.
        notes: Sentences on how they were read.
        warnings: Sentences on what looks like a mistake.
        left_out: Files beside them.
    """

    rows: list[Row]
    notes: tuple[str, ...]
    warnings: tuple[str, ...] = ()
    left_out: LeftOut = field(default_factory=LeftOut)


def camera_number(text: str, place: str) -> int:
    """Read a camera's number.

    Raises:
        UserError: It is none that a camera has.
    """
    text = text.strip()
    if not text.isdecimal() or len(text) > _LONGEST or int(text) >= _CAMERAS:
        raise UserError(f"{place}: camera {text!r}; give a whole number below {_CAMERAS}")
    return int(text)


def settle_junk(reading: Reading) -> Reading:
    """Leave junk out, and keep distractors in the gallery alone; both are counted.

    Raises:
        UserError: A row has no identity.
    """
    rows: list[Row] = []
    junk = displaced = 0
    for row in reading.rows:
        check_pid(row.pid, row.place)
        if value_of(row.pid) == JUNK:
            junk += 1
        elif not row.is_distractor:
            rows.append(row)
        elif row.subset in ("train", "val", "query"):
            displaced += 1
        else:
            rows.append(replace(row, subset="gallery"))
    notes, warnings = list(reading.notes), list(reading.warnings)
    if junk:
        notes.append(f"left out {junk:,} junk pictures (identity -1)")
    distractors = sum(row.is_distractor for row in rows)
    if distractors:
        notes.append(f"{distractors:,} pictures of identity 0 are distractors of the gallery, as in Market-1501")
    if displaced:
        warnings.append(
            f"left out {displaced:,} pictures of identity 0 that train or are queries; names like 0000_c1s1_000151_00 "
            "mark distractors, so number your people from 1"
        )
    zeros = sum(value_of(row.pid) == 0 and not row.is_distractor and row.subset != "gallery" for row in rows)
    if junk and zeros:
        warnings.append(
            f"{zeros:,} pictures of identity 0 are read as one person's; Market-1501 gives that number to distractors"
        )
    return replace(reading, rows=rows, notes=tuple(notes), warnings=tuple(warnings))
