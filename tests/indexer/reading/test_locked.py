"""Files behind a password say so, and open with one of those given."""

import base64
import hashlib
import io

import pytest
from msoffcrypto.format.ooxml import OOXMLFile

from tests.indexer.reading.files import docx
from tests.indexer.reading.reads import one, reason, rules

# Written by pypdf and by zip; the password is "sesame".
_PDF = base64.b64decode(
    "JVBERi0xLjMKJeLjz9MKMSAwIG9iago8PAovVHlwZSAvQ2F0YWxvZwovUGFnZXMgMiAwIFIKPj4KZW5kb2JqCjIgMCBv"
    "YmoKPDwKL1R5cGUgL1BhZ2VzCi9LaWRzIFsgMyAwIFIgXQovQ291bnQgMQo+PgplbmRvYmoKMyAwIG9iago8PAovVHlw"
    "ZSAvUGFnZQovUGFyZW50IDIgMCBSCi9NZWRpYUJveCBbIDAgMCA2MTIgNzkyIF0KL1Jlc291cmNlcyA8PAovRm9udCA8"
    "PAovRjEgNCAwIFIKPj4KPj4KL0NvbnRlbnRzIDUgMCBSCj4+CmVuZG9iago0IDAgb2JqCjw8Ci9UeXBlIC9Gb250Ci9T"
    "dWJ0eXBlIC9UeXBlMQovQmFzZUZvbnQgL0hlbHZldGljYQo+PgplbmRvYmoKNSAwIG9iago8PAovTGVuZ3RoIDYwCj4+"
    "CnN0cmVhbQrYYEeeokZXDgy3wPWVr2AGyO1p68CBCXBn4JPX2b2ZQH57mwN+NMI4VkaJUL6327ZfFrDK1kH66GzbmzkK"
    "ZW5kc3RyZWFtCmVuZG9iago2IDAgb2JqCjw8Cj4+CmVuZG9iago3IDAgb2JqCjw8Ci9WIDIKL1IgMwovTGVuZ3RoIDEy"
    "OAovUCA0Mjk0OTY3MjkyCi9GaWx0ZXIgL1N0YW5kYXJkCi9PIDwwZGI1OTU0Y2NkMjM2NTY5ZTc2NTkwNmNhZjY0ZTQ0"
    "MjlhNGMyMGQ2ZTk5NmZkZWY5NjNlOWI1MDgwZjllMDgzPgovVSA8ODU0NmQ2MmYzM2FjY2JjZmM5YTA5NjA5ZDA3Y2Fh"
    "MGYyOGJmNGU1ZTRlNzU4YTQxNjQwMDRlNTZmZmZhMDEwOD4KPj4KZW5kb2JqCnhyZWYKMCA4CjAwMDAwMDAwMDAgNjU1"
    "MzUgZiAKMDAwMDAwMDAxNSAwMDAwMCBuIAowMDAwMDAwMDY0IDAwMDAwIG4gCjAwMDAwMDAxMjMgMDAwMDAgbiAKMDAw"
    "MDAwMDI1MSAwMDAwMCBuIAowMDAwMDAwMzIxIDAwMDAwIG4gCjAwMDAwMDA0MzEgMDAwMDAgbiAKMDAwMDAwMDQ1MiAw"
    "MDAwMCBuIAp0cmFpbGVyCjw8Ci9TaXplIDgKL1Jvb3QgMSAwIFIKL0luZm8gNiAwIFIKL0lEIFsgPDM5OThhZjI5MDlk"
    "ZGZmNDcxNWQyYThmNWNkY2Q1MzBmPiA8Mzk5OGFmMjkwOWRkZmY0NzE1ZDJhOGY1Y2RjZDUzMGY+IF0KL0VuY3J5cHQg"
    "NyAwIFIKPj4Kc3RhcnR4cmVmCjY2NwolJUVPRgo="
)
_ZIP = base64.b64decode(
    "UEsDBAoACQAAANQ2dV1aVl7fKQAAAB0AAAAKABwAa2V0dGxlLnR4dFVUCQADMEABazBAAWt1eAsAAQQAAAAABAAAAAB8"
    "PzxW9gcnzhpOGXNF/9rLWGj8dgZY0w86F8HsH+lIS68ow6It/311sFBLBwhaVl7fKQAAAB0AAABQSwECHgMKAAkAAADU"
    "NnVdWlZe3ykAAAAdAAAACgAYAAAAAAABAAAApIEAAAAAa2V0dGxlLnR4dFVUBQADMEABa3V4CwABBAAAAAAEAAAAAFBL"
    "BQYAAAAAAQABAFAAAAB9AAAAAAA="
)


def _docx() -> bytes:
    filling = "".join(hashlib.sha256(bytes([n])).hexdigest() for n in range(200))
    locked = io.BytesIO()
    OOXMLFile(io.BytesIO(docx(more={"word/filling.xml": filling}))).encrypt("sesame", locked)
    return locked.getvalue()


@pytest.mark.parametrize("name", ["a.pdf", "a.zip", "a.docx"])
def test_a_locked_file_says_so_and_opens_with_a_password_given(name: str) -> None:
    content = {"a.pdf": _PDF, "a.zip": _ZIP, "a.docx": _docx()}[name]
    assert reason(name, content).startswith("is protected by a password")
    assert reason(name, content, rules("other")).startswith("is protected by a password")
    assert "1.7 litres" in one(name, content, rules("other", "sesame")).text
