"""The gate: whether a release may take the place of the live one, measured over HTTP."""
