"""The runners by name, each imported only when it is asked for."""

from typing import Literal

from indexer.errors import BadInput
from indexer.job.runner import LocalRunner, Runner

RunnerName = Literal["local", "ray"]


def named_runner(name: RunnerName) -> Runner:
    """BadInput: Ray is not installed."""
    if name == "local":
        return LocalRunner()
    try:
        from indexer.job.ray_runner import RayRunner
    except ModuleNotFoundError as error:
        raise BadInput(
            f"--runner ray needs the package {error.name}",
            'Install it: pip install -e ".[ray]", on every machine of the cluster',
        ) from error
    return RayRunner()
