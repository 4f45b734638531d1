"""Puts settings into a domain.toml and leaves everything else in it as it stands."""

import tomllib
from collections.abc import Mapping
from pathlib import Path

from indexer.domain import load_domain
from indexer.errors import BadInput
from indexer.settings import write_atomically

SECTION = "retrieval"


def toml_lines(changes: Mapping[str, object]) -> str:
    """As they stand in domain.toml."""
    import tomlkit

    return tomlkit.dumps({SECTION: dict(changes)}).strip()


def write_settings(file: Path, changes: Mapping[str, object]) -> None:
    """Comments, order and every other key stay. BadInput if the file cannot be read or kept so."""
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    try:
        text = file.read_text(encoding="utf-8")
        document = tomlkit.parse(text)
        if SECTION not in document:
            document[SECTION] = tomlkit.table()
        section = document[SECTION]
        for key, value in changes.items():
            section[key] = value
        new = tomlkit.dumps(document)
    except (OSError, UnicodeDecodeError, TOMLKitError) as error:
        raise BadInput(
            f"{file} cannot be changed: {error}", "Write the lines in by hand"
        ) from error
    before = tomllib.loads(text)
    wanted = {**before, SECTION: {**before.get(SECTION, {}), **changes}}
    if tomllib.loads(new) != wanted:
        raise BadInput(f"{file} would not keep all that it says", "Write the lines in by hand")
    write_atomically(file, new.encode())
    load_domain(file)
