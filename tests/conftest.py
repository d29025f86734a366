"""The parts every test may ask for."""

from tests.parts.assets import assets
from tests.parts.broker import broker_factory, mosquitto, tls_mosquitto
from tests.parts.certificates import authority
from tests.parts.provisioned import provisioned
from tests.parts.site import module_site, own_site, session_site, site
from tests.parts.tokens import soft_token, soft_tpm

__all__ = [
    "assets",
    "authority",
    "broker_factory",
    "module_site",
    "mosquitto",
    "own_site",
    "provisioned",
    "session_site",
    "site",
    "soft_token",
    "soft_tpm",
    "tls_mosquitto",
]
