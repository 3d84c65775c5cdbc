"""What a picture of one's own is for: said by the folders around it, or by a word of a table."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import zip_longest
from pathlib import PurePosixPath

from intact_fast.data.catalogue import Subset
from intact_fast.errors import UserError

ROLES: tuple[Subset, ...] = ("train", "val", "query", "gallery", "test")
_WORDS: dict[str, Subset] = {
    **dict.fromkeys(("train", "training", "trainset", "trainval"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "valset"), "val"),
    **dict.fromkeys(("test", "testing", "testset"), "test"),
    **dict.fromkeys(("query", "queries", "probe", "probes"), "query"),
    **dict.fromkeys(("gallery", "galleries"), "gallery"),
}
_MARKET: dict[tuple[str, ...], Subset] = {("bounding", "box", "test"): "gallery", ("train", "val"): "train"}
"""Names of which the words alone would say something else."""
_NEUTRAL = frozenset(
    "bounding box boxes bbox set split data dataset image images img imgs picture pictures pic pics crop crops "
    "person persons people jpg png".split()
)
"""Words that say nothing beside a role's: ``train_images``, ``bounding_box_train``."""
_NESTED: dict[tuple[Subset, Subset], Subset] = {
    ("test", "query"): "query",
    ("test", "gallery"): "gallery",
    ("query", "test"): "query",
    ("gallery", "test"): "gallery",
    ("train", "val"): "val",
    # a run makes queries of held-out people itself
    **{pair: "val" for side in ("query", "gallery") for pair in (("val", side), (side, "val"))},
}
"""Role of a folder within another one; every other pair contradicts itself."""
_OTHERS_WORDS: dict[Subset, str] = {
    "train": "trn apprentissage entrainement entrenamiento treino treinamento addestramento обучение 训练 訓練 学習",
    "val": "dev validierung validacion validazione validacao валидация 验证 驗證 検証 검증",
    "test": "tst eval evaluation holdout prueba pruebas teste prova тест 测试 測試 テスト 테스트",
    "query": "qry requete requetes consulta consultas abfrage abfragen anfrage anfragen запрос 查询 查詢 クエリ 쿼리",
    "gallery": "gal galerie galeria galleria галерея 图库 圖庫 画廊 ギャラリー 갤러리",
}
"""Short forms and other languages' words, without accents. None is taken for a role; two of them are asked about."""
_SHORTEST = 4
"""Letters of a role's word that others may be joined to, as in ``trainset2`` and ``mytest``."""
_SHOWN = 3
_SIDE_BY_SIDE = range(2, 9)
"""So many folders beside each other may well be roles; more are people, cameras or days."""
_REMEDY = "name the folders train, val, test, query and gallery, or move them out of the data"


@cache
def role_of_word(word: str) -> Subset | None:
    """Understand the name of a folder, or an entry of a table; None where it is no role.

    Case, and what joins the words, make no difference: ``Train``, ``bounding_box_train``, ``QueryImages``, ``probe``.
    """
    tokens = _tokens(word)
    if tokens in _MARKET:
        return _MARKET[tokens]
    if not all(token in _WORDS or token in _NEUTRAL for token in tokens):
        return None
    role: Subset | None = None
    for token in tokens:
        inner = _WORDS.get(token)
        if inner is not None:
            if role not in (None, inner) and (role, inner) not in _NESTED:
                return None
            role = _within(role, inner)
    return role


def _tokens(word: str) -> tuple[str, ...]:
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", unicodedata.normalize("NFKC", word))
    return tuple(re.findall(r"[^\W_]+", apart.casefold()))


def _looks_like(word: str) -> set[Subset]:
    """Give the roles that somebody may have meant by a name."""
    unaccented = "".join(letter for letter in unicodedata.normalize("NFKD", word) if not unicodedata.combining(letter))
    found: set[Subset] = set()
    for token in (token.strip("0123456789") for token in (*_tokens(unaccented), *_tokens(word))):
        found |= {role for role, words in _OTHERS_WORDS.items() if token in words.split()}
        for known, role in _WORDS.items():
            if token == known or (len(known) >= _SHORTEST and (token.startswith(known) or token.endswith(known))):
                found.add(role)
    return found


def _within(outer: Subset | None, inner: Subset) -> Subset:
    return inner if outer is None or outer == inner else _NESTED[outer, inner]


def roles_of_folders(paths: Sequence[str], remedy: str = _REMEDY) -> tuple[list[Subset], str]:
    """Say what pictures are for by the folders around them, ``all`` for each where no folder is a role's.

    Args:
        paths: Relative to the root, with forward slashes.
        remedy: What to do about folders that contradict each other, for the error.

    Returns:
        The role of each path, and a sentence on where they come from.

    Raises:
        UserError: Folders contradict each other, or some pictures have a role and others none.
    """
    known: dict[PurePosixPath, tuple[Subset, PurePosixPath] | None] = {}
    roles: list[Subset] = []
    found: dict[Subset, set[str]] = {}
    strangers: dict[str, int] = {}
    for path in paths:
        folder = PurePosixPath(path).parent
        if folder not in known:
            known[folder] = _role_of_folder(folder, remedy)
        understood = known[folder]
        if understood is None:
            top = folder.parts[0] if folder.parts else "."
            strangers[top] = strangers.get(top, 0) + 1
        else:
            found.setdefault(understood[0], set()).add(str(understood[1]))
        roles.append("all" if understood is None else understood[0])
    if found and strangers:
        raise UserError(
            f"--data.root: {_listed(sorted(strangers))} ({sum(strangers.values()):,} pictures) has no role beside "
            f"{_listed(sorted(set().union(*found.values())))}; {remedy}"
        )
    if not found:
        _refuse_similar_names(known, remedy)
        return roles, f"no folder is named as a role{_side_by_side(known)}, so that people are halved at random"
    places = "; ".join(f"{role} is {_listed(sorted(found[role]))}" for role in ROLES if role in found)
    return roles, f"roles by the folders: {places}"


def _role_of_folder(folder: PurePosixPath, remedy: str) -> tuple[Subset, PurePosixPath] | None:
    """Give the role, and the folder down to the last one that names it."""
    role: Subset | None = None
    named = ""
    place = PurePosixPath()
    for depth, part in enumerate(folder.parts, start=1):
        inner = role_of_word(part)
        if inner is None:
            continue
        if role not in (None, inner) and (role, inner) not in _NESTED:
            raise UserError(
                f"--data.root: in {folder} the folder {named} says {role} and {part} below it says {inner}; {remedy}"
            )
        role, named = _within(role, inner), part
        place = PurePosixPath(*folder.parts[:depth])
    return None if role is None else (role, place)


def _refuse_similar_names(folders: Iterable[PurePosixPath], remedy: str) -> None:
    """Refuse ``my_train`` beside ``my_test``: nobody calls them so whose people may be halved at random."""
    similar: dict[Subset, str] = {}
    for folder in folders:
        for part in folder.parts:
            for role in _looks_like(part):
                similar[role] = min(part, similar.get(role, part))
    if len(similar) > 1:
        raise UserError(f"--data.root: {_listed(sorted(set(similar.values())))} look like roles; {remedy}")


def _side_by_side(folders: Iterable[PurePosixPath]) -> str:
    """Name the folders below which the pictures part, where they are few."""
    for beside in zip_longest(*(folder.parts for folder in folders), fillvalue=""):
        names = sorted(set(beside) - {""})
        if len(set(beside)) > 1:
            return f" ({_listed(names)})" if len(names) in _SIDE_BY_SIDE else ""
    return ""


def without_roles(folders: Iterable[str]) -> list[str]:
    """Drop the folders that name a role."""
    return [folder for folder in folders if role_of_word(folder) is None]


def settle_roles(roles: Sequence[Subset], needs_test: bool = True) -> tuple[list[Subset], str]:
    """Decide what ``test`` means, and whether there is somebody to test.

    ``test`` beside queries and without a gallery is the gallery, as Market-1501's ``bounding_box_test``. Alone it stays
    both.

    Args:
        roles: Of all pictures.
        needs_test: Whether somebody has to be tested.

    Returns:
        The roles, and a sentence where one was changed.

    Raises:
        UserError: A side of the test is missing, or named twice.
    """
    present = set(roles)
    if {"test", "query", "gallery"} <= present:
        raise UserError(
            "--data.root: test pictures stand beside queries and a gallery; move each of them into query or gallery"
        )
    if {"test", "query"} <= present:
        return [
            "gallery" if role == "test" else role for role in roles
        ], "test is the gallery, as it stands beside query"
    if needs_test and "all" not in present and "test" not in present:
        for side, other in (("query", "gallery"), ("gallery", "query")):
            if side in present and other not in present:
                raise UserError(f"--data.root: {side} pictures without {other} pictures; add a folder {other}")
        if "query" not in present:
            raise UserError(
                f"--data.root: only {' and '.join(r for r in ROLES if r in present)} pictures; add a folder test, or "
                "query and gallery, or take the role away so that people are halved at random"
            )
    return list(roles), ""


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join("the root itself" if name == "." else name for name in names[:_SHOWN])
    return f"{shown} and {len(names) - _SHOWN} more" if len(names) > _SHOWN else shown
