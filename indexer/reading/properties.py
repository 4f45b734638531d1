"""What an office file says about itself: title, author, dates."""

import zipfile

from indexer.reading.archive import part_tree
from indexer.reading.fields import to_fields
from indexer.records import Value

_CORE = {
    "title": "title",
    "creator": "author",
    "subject": "subject",
    "keywords": "keywords",
    "category": "category",
    "created": "created",
    "modified": "modified",
    "language": "language",
}


def core_properties(archive: zipfile.ZipFile) -> dict[str, Value]:
    """The fields of docProps/core.xml; none where it is missing."""
    tree = part_tree(archive, "docProps/core.xml")
    stated: dict[str, str] = {}
    for element in tree if tree is not None else ():
        name = _CORE.get(element.tag.rpartition("}")[2])
        if name and element.text and element.text.strip():
            stated[name] = element.text
    return to_fields(stated)
