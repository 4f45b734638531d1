"""A canary against the live release, and a mirror beside it, told by what they really did."""
