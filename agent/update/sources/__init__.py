"""Roads to the repository: each is a `Source` (`agent.update.ports`), named in one table.

Every source yields a file's bytes from any offset on, promises nothing about them, and raises only
`TransferError`. Third parties add theirs as entry points of the group `vigil.sources`.
"""

from __future__ import annotations

SOURCES = {
    "https": "agent.update.sources.https:HttpsSource",
    "mqtt": "agent.update.sources.blocks:BlockSource",
}
GROUP = "vigil.sources"
