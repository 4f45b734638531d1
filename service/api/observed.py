"""What is looked up when somebody asks for metrics, since nothing happens when it changes."""

from service.bootstrap import Service


def observe(service: Service) -> None:
    """Live releases, and what the last job of each domain left out."""
    telemetry = service.telemetry
    for name, release in service.releases.live().items():
        telemetry.release.labels(name).set(release.number)
    seen: set[str] = set()
    for job in service.jobs.newest_first():
        if job.status == "succeeded" and job.domain not in seen:
            seen.add(job.domain)
            telemetry.quarantined.labels(job.domain).set(job.quarantined_total)
