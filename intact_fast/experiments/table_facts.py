"""Facts that all rows of a table share, kept in its folder, so that a table that goes on shares them, too."""

from __future__ import annotations

import hashlib
from pathlib import Path

from intact_fast.errors import UserError
from intact_fast.files import write_atomically
from intact_fast.json_text import from_json, to_json
from intact_fast.plain_values import read_plain


class TableFacts:
    """Facts that no configuration tells: how many processes trained, and which C it was.

    Args:
        folder: The table's.
        option: How the user named it, for errors.
    """

    def __init__(self, folder: Path, option: str) -> None:
        self._path = folder / "common.json"
        self._option = option

    def agree_on_processes(self, count: int) -> None:
        """See that as many processes train as when the table was begun, and so on as large a batch.

        Raises:
            UserError: There were more or fewer.
        """
        before = self._first_value("processes", count)
        if before != count:
            raise UserError(
                f"{self._option}: begun with {before} process(es), now there are {count}, and each has a batch of its "
                "own; use as many, or another --name"
            )

    def agree_on_critic(self, name: str, path: Path) -> None:
        """See that a file holds the C that it held when the table was begun; one that is gone says nothing.

        Args:
            name: Which C.
            path: Its file.

        Raises:
            UserError: It was replaced.
        """
        if not path.is_file():
            return
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if self._first_value(name, found) != found:
            raise UserError(
                f"{path}: another C than {self._option} was begun with; put that one back, or use another --name"
            )

    def _first_value(self, name: str, value: str | int) -> str | int:
        """Give the value that was kept first, and keep this one where there is none."""
        known: dict[str, str | int] = {}
        if self._path.is_file():
            try:
                known = read_plain(dict[str, str | int], from_json(self._path.read_text(encoding="utf-8")))
            except ValueError as error:
                raise UserError(f"{self._path}: broken ({error}); remove it, or use another --name") from error
        if name not in known:
            known[name] = value
            with write_atomically(self._path) as temporary:
                temporary.write_text(to_json(known, indent=1) + "\n", encoding="utf-8")
        return known[name]
