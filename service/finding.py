"""One line of what `dslm doctor` reports."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Finding:
    """`remedy` says what to do unless all is well."""

    level: Literal["ok", "warn", "FAIL"]
    subject: str
    message: str
    remedy: str = ""

    def __str__(self) -> str:
        remedy = f". {self.remedy}" if self.remedy else ""
        return f"{self.level:4}  {self.subject:8} {self.message}{remedy}"
