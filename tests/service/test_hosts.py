"""By which names the service may be called, and how often with a wrong key."""

import pytest

from service.api.failures import MOST_ADDRESSES, PER_MINUTE, Failures
from service.api.hosts import Hosts
from service.errors import Forbidden

LOCAL = ["localhost", "LOCALHOST:8080", "127.0.0.1:8080", "127.8.9.1", "[::1]:8080", "a.localhost"]
FOREIGN = ["evil.example", "evil.example:8080", "localhost.evil.example", "10.0.0.5", "", "[::2]"]


@pytest.mark.parametrize("host", LOCAL)
def test_local_names_are_the_services_own(host: str) -> None:
    Hosts("", local_only=True).check(host)
    Hosts("box.lan", local_only=False).check(host)


@pytest.mark.parametrize("host", FOREIGN)
def test_no_other_name_is_unless_it_is_named(host: str) -> None:
    with pytest.raises(Forbidden, match="DSLM_ALLOWED_HOSTS"):
        Hosts("box.lan other.lan", local_only=True).check(host)
    Hosts("*", local_only=True).check(host)
    Hosts("", local_only=False).check(host)
    Hosts(f"{host.partition(':')[0]}", local_only=True).check("127.0.0.1")


def test_a_name_that_is_given_is_the_services_own_with_any_port() -> None:
    for host in ("box.lan", "BOX.LAN:8080", "box.lan."):
        Hosts("box.lan", local_only=True).check(host)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_failures_of_an_address_are_counted_and_forgiven_with_time() -> None:
    clock = Clock()
    failures = Failures(clock)
    assert [failures.count("10.0.0.1") for _ in range(PER_MINUTE)] == [0.0] * PER_MINUTE
    assert failures.count("10.0.0.1") == pytest.approx(60 / PER_MINUTE)
    assert failures.count("10.0.0.2") == 0.0
    clock.now += 60 / PER_MINUTE
    assert failures.count("10.0.0.1") == 0.0
    assert failures.count("10.0.0.1") > 0.0


def test_one_customers_network_is_one_address() -> None:
    failures = Failures(Clock())
    for number in range(PER_MINUTE):
        assert failures.count(f"2001:db8::{number:x}") == 0.0
    assert failures.count("2001:db8::ffff") > 0.0
    assert failures.count("2001:db8:0:1::1") == 0.0


def test_no_number_of_addresses_fills_the_memory() -> None:
    failures = Failures(Clock())
    for number in range(MOST_ADDRESSES + 100):
        failures.count(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
    assert len(failures._left) == MOST_ADDRESSES
