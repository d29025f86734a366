"""The broker's and the controllers' certificates are replaced before they end, for the same names."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from cryptography import x509

from agent.errors import ConfigError
from agent.fleet.home import FLEET_SCHEMA, FleetConfig, FleetHome, create_home
from agent.fleet.own_certificates import renew_own

NOW = datetime.now(timezone.utc)


@pytest.fixture
def home(tmp_path: Path) -> FleetHome:
    config = FleetConfig(
        schema=FLEET_SCHEMA, broker_host="broker.example", broker_port=1, repository="repo"
    )
    home = create_home(tmp_path / "home", config, ["127.0.0.1"])
    home.registry.close()
    return home


def broker_certificate(home: FleetHome) -> x509.Certificate:
    return x509.load_pem_x509_certificate((home.folder / "broker/broker.crt").read_bytes())


def test_what_has_a_third_of_its_life_left_is_made_anew_for_the_same_names(home: FleetHome) -> None:
    before = broker_certificate(home)
    assert renew_own(home, NOW + timedelta(days=200)) == []
    assert broker_certificate(home) == before
    renewed = renew_own(home, NOW + timedelta(days=300))
    assert set(renewed) == {"broker", "controller", "controller-desk", "controller-watch"}
    after = broker_certificate(home)
    assert after.serial_number != before.serial_number
    kind = x509.SubjectAlternativeName
    names = [one.extensions.get_extension_for_class(kind).value for one in (before, after)]
    assert names[0] == names[1]
    after.verify_directly_issued_by(x509.load_pem_x509_certificate(home.authority.ca_pem))


def test_a_file_that_is_no_certificate_is_named(home: FleetHome) -> None:
    (home.folder / "controller/controller.crt").write_text("nonsense")
    with pytest.raises(ConfigError, match=r"controller\.crt: expected a certificate"):
        renew_own(home, NOW)
