"""`force-downgrade` and `rotate-keys` on a whole device: signed by two people, done, and on record."""

from __future__ import annotations

from agent.fleet.operators import Order
from agent.fleet.rotation import begin, finish, order_adopt, order_prepare
from agent.schema.messages import Phase, Reply
from agent.trust.ledger import Ledger
from tests.parts.site import Device, Site


def test_two_administrators_send_a_device_below_its_floor(site: Site) -> None:
    device = site.serving("lowered")
    old, new = site.release("1.0.0"), site.release("2.0.0")
    assert site.install(device, new).status.value == "succeeded"
    assert site.install(device, old).code == "trust.rollback"

    args = {"release": old.path, "sha256": old.sha256}
    reply = ordered(site, Order("force-downgrade", args, f"d/{device.name}"))
    assert (reply.status.value, reply.code) == ("succeeded", "")
    state = site.wait(device, lambda state: state.release == "sorters/parts/1.0.0")
    assert (state.phase, state.floor) == (Phase.COMMITTED, 2)
    args["sha256"] = "0" * 64
    reply = ordered(site, Order("force-downgrade", args, f"d/{device.name}"))
    assert reply.code == "trust.other_digest"

    device.kill()
    rows = audit(device)
    for end in ("refused trust.rollback", "committed", "refused trust.other_digest"):
        assert f"{old.path} {end}" in rows


def test_a_device_key_is_replaced_by_command_and_updates_go_on(site: Site) -> None:
    device = site.serving("rekeyed")
    registry = site.fleet.registry
    reply = ordered(site, order_adopt(device.name))
    assert reply.code == "key.no_successor"

    asked = begin(registry, device.name)
    public = finish(registry, asked, ordered(site, order_prepare(asked)))
    assert public != asked.old_public
    reply = ordered(site, order_adopt(device.name))
    assert reply.status.value == "succeeded", reply
    record = registry.device(device.name)
    assert record is not None
    assert record.public_key == public
    assert site.install(device, site.release("2.0.0")).status.value == "succeeded"

    device.kill()
    assert "the next device key is in force" in audit(device)
    device.start()
    state = site.wait(device, lambda state: state.pipeline == "running")
    assert state.release == "sorters/parts/2.0.0"


def test_a_challenge_to_another_key_makes_no_key(site: Site) -> None:
    device, other = site.running("unmoved"), site.device("unmoved-2")
    asked = begin(site.fleet.registry, other.name)
    args = {**order_prepare(asked).args}
    reply = ordered(site, Order("rotate-keys", args, f"d/{device.name}"))
    assert reply.code.startswith("trust.")
    assert ordered(site, order_adopt(device.name)).code == "key.no_successor"


def ordered(site: Site, order: Order) -> Reply:
    return site.end_of(site.fleet.order(order))


def audit(device: Device) -> str:
    ledger = Ledger(device.folder / "state" / "commands.db")
    try:
        ledger.verify()
        return "\n".join(row.text for row in ledger.rows(100))
    finally:
        ledger.close()
