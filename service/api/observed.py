"""What is looked up when somebody asks for metrics, since nothing happens when it changes."""

import shutil
from contextlib import suppress

from service.bootstrap import Service


def observe(service: Service) -> None:
    """Live releases, what the last job of each domain left out, and the room that is left."""
    telemetry = service.telemetry
    with suppress(OSError):  # a metric that stands still must not end all of them
        disk = shutil.disk_usage(service.settings.store)
        telemetry.store_free.set(disk.free)
        telemetry.store_size.set(disk.total)
    for name in service.releases.domains:
        telemetry.swaps_refused.labels(name)  # 0 is told: a rise from nothing would not be seen
    for name, release in service.releases.live().items():
        telemetry.release.labels(name).set(release.number)
    seen: set[str] = set()
    for job in service.jobs.newest_first():
        if job.status == "succeeded" and job.domain not in seen:
            seen.add(job.domain)
            telemetry.quarantined.labels(job.domain).set(job.quarantined_total)
