"""Identities as people write them: which spellings are one person, and which number the person gets."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping

from intact_fast.errors import UserError

JUNK = -1
"""Identity of a detection that shows nobody, after Market-1501."""
_MISSING = frozenset(
    (
        *("", "nan", "NaN", "-nan", "NA", "N/A", "n/a", "<NA>", "None", "null", "NULL"),
        # placeholders, and what a spreadsheet shows where a formula has no value
        *("-", "?", "unknown", "Unknown", "UNKNOWN", "inf", "#N/A", "#REF!", "#VALUE!", "#NAME?", "#NUM!", "#DIV/0!"),
    )
)
_WHOLE = re.compile(r"[+-]?\d+(\.0*|,0)?")
_ROUNDED = re.compile(r"\d(\.\d+)?[eE]\+\d+")
_LIMIT = 2**63
"""Numbers from here on fit no table of ours."""
_EXACT = 2**53
"""Whole numbers from here on lose digits where a table keeps them as floating-point numbers."""
_LONG = 1000
_SHOWN = 3


def value_of(pid: str) -> int | None:
    """Read an identity as a number: ``7``, ``0007`` and pandas' ``7.0`` are 7; None for any other text."""
    text = pid.strip().replace("\N{MINUS SIGN}", "-")
    return int(re.split("[.,]", text)[0]) if len(text) < _LONG and _WHOLE.fullmatch(text) else None


def person_of(pid: str) -> int | str:
    """Give what all sure spellings of an identity have in common: its number, or its name in one form of Unicode."""
    value = value_of(pid)
    return unicodedata.normalize("NFC", pid.strip()) if value is None else value


def check_pid(pid: str, place: str) -> None:
    """Refuse what is no identity.

    Args:
        pid: As it is written.
        place: File, or table and line, for the error.

    Raises:
        UserError: It is empty or pandas' ``nan``, negative besides junk's -1, or a rounded number.
    """
    if pid.strip() in _MISSING:
        raise UserError(f"{place}: no identity ({pid.strip() or 'empty'}); give the picture's person, or leave it out")
    value = value_of(pid)
    if value is not None and value < JUNK:
        raise UserError(f"{place}: identity {pid} is negative; -1 marks junk, and people have numbers from 0")
    if _ROUNDED.fullmatch(pid.strip()) or (value is not None and re.search("[.,]", pid) and value >= _EXACT):
        raise UserError(f"{place}: identity {pid} has lost digits as a floating-point number; save the ids as text")


def number_people(places: Mapping[str, str]) -> tuple[dict[str, int], list[str]]:
    """Give every spelling of an identity its number.

    Identities that are all numbers keep them, and spellings of one number are one person. Other sets get numbers in
    sorted order. Spellings that differ in the form of their Unicode alone are one person.

    Args:
        places: Where each spelling occurs first, for errors; in any order.

    Returns:
        Number by spelling, and sentences on spellings that were joined and on numbers that were given.

    Raises:
        UserError: Two names differ only in case, in leading zeros or in blanks.
    """
    people: dict[int | str, list[str]] = {}
    for pid in sorted(places):
        people.setdefault(person_of(pid), []).append(pid)
    _refuse_similar(people, places)
    notes = _joined(people.values())
    values = [key for key in people if isinstance(key, int)]
    if len(values) == len(people) and max(values) < _LIMIT:
        return {pid: value for value in values for pid in people[value]}, notes
    if len(values) == len(people):
        notes.append(f"identities reach 2^63, so that all are numbered in their order from 0 to {len(people) - 1}")
        ordered = [people[value] for value in sorted(values)]
    else:
        notes.append(f"identities are names, numbered in sorted order from 0 to {len(people) - 1}")
        ordered = sorted(people.values())
    return {pid: number for number, pids in enumerate(ordered) for pid in pids}, notes


def _joined(spellings: Iterable[list[str]]) -> list[str]:
    several = [pids for pids in spellings if len(pids) > 1]
    if not several:
        return []
    shown = "; ".join(" and ".join(map(repr, pids)) for pids in several[:_SHOWN])
    return [f"{len(several)} people are spelled in several ways, each read as one person: {shown}"]


def _refuse_similar(people: Mapping[int | str, list[str]], places: Mapping[str, str]) -> None:
    """Refuse what may be one person or two."""
    first: dict[str, str] = {}
    for pids in people.values():
        pid = pids[0]
        other = first.setdefault(_similar(pid), pid)
        if other != pid:
            raise UserError(
                f"{places[pid]}: identity {pid!r} is almost {other!r} of {places[other]}; spell one person in one way, "
                "and two people clearly apart"
            )


def _similar(pid: str) -> str:
    """Drop what two spellings of one person differ in.

    That is case, leading zeros, blanks, forms of Unicode and characters that nobody sees; and how spreadsheets and
    programs write numbers: ``="0007"``, ``'7``, ``1,000``, ``1_000``, ``1e3``, ``0x7``.
    """
    seen = "".join(letter for letter in unicodedata.normalize("NFKC", pid) if unicodedata.category(letter) != "Cf")
    folded = re.sub(r"""[="'`]""", "", " ".join(seen.casefold().split()))
    if re.fullmatch(r"\d{1,3}([,_ ]\d{3})+", folded):
        folded = re.sub("[,_ ]", "", folded)
    if number := re.fullmatch(r"(\d{1,15})e\+?(\d{1,2})", folded):
        folded = str(int(number[1]) * 10 ** int(number[2]))
    elif number := re.fullmatch(r"0x([0-9a-f]{1,15})", folded):
        folded = str(int(number[1], 16))
    return re.sub(r"(?<![\d.])0+(?=\d)", "", folded)
