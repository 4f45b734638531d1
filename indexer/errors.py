"""What can go wrong, in words for the person who reads it: a message and a remedy."""

from typing import ClassVar


class DslmError(Exception):
    """A failure that has a cause to name and, where possible, a remedy to offer."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message, remedy)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message.rstrip('.')}. {self.remedy}" if self.remedy else self.message


class BadInput(DslmError):
    """A value that the user gave: a setting, a path, a document folder, a question."""

    exit_code: ClassVar[int] = 2


class StoreError(DslmError):
    """The store cannot be read or written: corrupt, locked, full or forbidden."""

    exit_code: ClassVar[int] = 3


class NotFound(DslmError):
    """A name or number that the store does not hold."""

    exit_code: ClassVar[int] = 4


class Cancelled(DslmError):
    """Somebody asked a job to end; what it had done is kept."""

    exit_code: ClassVar[int] = 130
