"""Who may look and who may change something: tokens, sessions made from them, and how often a wrong one may be tried.

Rules
- Tokens are compared in constant time and never logged, stored or sent back.
- A session is `<expiry>.<role>.<HMAC-SHA256 of both>` under a key made of the tokens and the boot, so there is
  nothing to store; the agent may begin anew (a change of zones does) and nobody is logged out, but a changed
  token or a reboot logs everybody out.
- An address that tried wrong tokens too often is refused without looking at what it sends.
"""

from __future__ import annotations

import hashlib
import hmac
from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping

from agent.host.clock import boot_id
from agent.schema.messages import Role

SESSION_S = 12 * 3600
MAX_FAILURES = 5
FAILURE_WINDOW_S = 60.0
MAX_ADDRESSES = 1024
_ROUNDS = 100_000


class Failures:
    """Wrong tokens by address: `MAX_FAILURES` per `FAILURE_WINDOW_S`; the oldest address is forgotten first."""

    def __init__(self) -> None:
        self._times_s: OrderedDict[str, deque[float]] = OrderedDict()

    def wait_s(self, address: str, now_s: float) -> float:
        """Return how long `address` must wait before it may try again; 0 when it may now."""
        times = self._times_s.get(address, deque())
        if len(times) < MAX_FAILURES:
            return 0.0
        return max(0.0, times[0] + FAILURE_WINDOW_S - now_s)

    def add(self, address: str, now_s: float) -> None:
        """Remember a wrong token from `address`."""
        times = self._times_s.pop(address, deque(maxlen=MAX_FAILURES))
        times.append(now_s)
        self._times_s[address] = times
        if len(self._times_s) > MAX_ADDRESSES:
            self._times_s.popitem(last=False)


class Access:
    """Checks tokens and sessions. Times are monotonic seconds: a session does not outlive a boot anyway.

    Args:
        tokens: The token that opens each role.
        anonymous: What somebody without a token may do; None for nothing.
        boot: Id of this boot.
    """

    def __init__(
        self, tokens: Mapping[Role, str], anonymous: Role | None = None, boot: str = ""
    ) -> None:
        self._digests = {role: _digest(token) for role, token in tokens.items()}
        self._session_key = _session_key(tokens.values(), boot or boot_id())
        self.anonymous = anonymous
        self.failures = Failures()

    @property
    def has_tokens(self) -> bool:
        """Whether there is anything to log in with."""
        return bool(self._digests)

    def role_of_token(self, token: str) -> Role | None:
        """Return the role that a token opens; compares with all of them, each in constant time."""
        digest = _digest(token)
        found = [role for role, own in self._digests.items() if hmac.compare_digest(digest, own)]
        return found[0] if found else None

    def new_session(self, role: Role, now_s: float) -> str:
        """Return a session that is good for `SESSION_S`."""
        claim = f"{int(now_s) + SESSION_S}.{role.value}"
        return f"{claim}.{self._seal(claim)}"

    def role_of_session(self, session: str, now_s: float) -> Role | None:
        """Return the role of a session that this process made and that has not expired."""
        claim, _, seal = session.rpartition(".")
        if not self._session_key or not hmac.compare_digest(
            seal.encode(), self._seal(claim).encode()
        ):
            return None
        expiry, _, role = claim.partition(".")
        return Role(role) if int(expiry) > now_s else None

    def _seal(self, claim: str) -> str:
        return hmac.new(self._session_key, claim.encode(), hashlib.sha256).hexdigest()


def _session_key(tokens: Iterable[str], boot: str) -> bytes:
    """Return a key that is slow to find out from a session, in case somebody chose a weak token."""
    secret = "\n".join(tokens).encode("utf-8", "surrogatepass")
    return hashlib.pbkdf2_hmac("sha256", secret, boot.encode(), _ROUNDS) if secret else b""


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
