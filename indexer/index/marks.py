"""What a snapshot says about an index of vectors."""

from pydantic import BaseModel, ConfigDict


class IndexMark(BaseModel):
    """Its kind, how it was built, and its measured recall of the ten nearest (None: exact).

    `reason` says why it is not the kind that was asked for or goes by the number of vectors.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    kind: str
    parameters: dict[str, int | float]
    recall: float | None
    reason: str = ""
