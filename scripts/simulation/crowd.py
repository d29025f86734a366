"""One process full of light devices; it says what they did whenever it is asked.

python scripts/simulation/crowd.py SETTINGS.json     a line on standard input: `report`, or `hush` to let them finish
"""

from __future__ import annotations

import asyncio
import faulthandler
import json
import ssl
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from address import Broker
from fetching import Fetcher
from light_device import LightDevice
from tally import Tally, end_on_fault


async def run(settings: dict[str, Any]) -> None:
    """Start the devices, so many a second, and answer questions until standard input ends."""
    tally, reporting = Tally(), asyncio.Event()
    reporting.set()
    broker = Broker(settings["host"], settings["ports"], _contexts(settings["tls"]))
    tasks: list[asyncio.Task[None]] = []
    questions = await _lines()
    starter = asyncio.create_task(_start(settings, broker, reporting, tally, tasks))
    while line := (await questions.readline()).decode().strip():
        if line == "hush":
            reporting.clear()
        print(json.dumps(asdict(tally)), flush=True)
    starter.cancel()
    for task in tasks:
        task.cancel()


async def _start(
    settings: dict[str, Any],
    broker: Broker,
    reporting: asyncio.Event,
    tally: Tally,
    tasks: list[asyncio.Task[None]],
) -> None:
    fetcher = Fetcher(settings["shop"]) if settings["shop"] else None
    for name in settings["names"]:
        device = LightDevice(name, broker, settings["interval_s"], reporting, tally, fetcher)
        task = asyncio.create_task(device.run())
        task.add_done_callback(end_on_fault)
        tasks.append(task)
        await asyncio.sleep(1 / settings["joins_per_s"])


def _contexts(folder: str | None) -> Any:
    def context(name: str) -> ssl.SSLContext | None:
        if folder is None:
            return None
        made = ssl.create_default_context(cafile=f"{folder}/ca.crt")
        made.load_cert_chain(Path(folder) / f"{name}.crt", Path(folder) / "devices.key")
        return made

    return context


async def _lines() -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader


if __name__ == "__main__":
    faulthandler.enable()
    asyncio.run(run(json.loads(Path(sys.argv[1]).read_text())))
