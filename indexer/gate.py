"""The table `[gate]` of a domain: what a release has to show before it may answer."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class GateSettings(BaseModel):
    """What a release has to show against the live one before it may answer.

    Only where the domain has this table, and `required`. Margins are differences of shares, 0 to 1;
    `latency` and `cost` are the most that an answer may take, as multiples of the live release's;
    `cost_out` is what a token out costs in tokens in. `sets` is a file in the domain's folder.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    required: bool = True
    sets: str = Field(default="gate.yaml", min_length=1)
    domain: Literal["better", "non-inferior"] = "better"
    domain_margin: float = Field(default=0.05, gt=0, lt=1)
    general_margin: float = Field(default=0.05, gt=0, lt=1)
    refusal_margin: float = Field(default=0.0, ge=0, lt=1)
    injection_margin: float = Field(default=0.0, ge=0, lt=1)
    latency: float = Field(default=1.5, gt=0)
    cost: float = Field(default=1.5, gt=0)
    cost_out: float = Field(default=4.0, ge=0)
    confidence: float = Field(default=0.95, ge=0.5, lt=1)
