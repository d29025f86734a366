"""Every command that a device knows: what it does, and who should be allowed to give it. Pure data.

What is in force is the policy's word, not this table: it is what the project recommends, and what a fleet
starts with.
"""

from __future__ import annotations

from dataclasses import dataclass

from agent.schema.messages import PolicyRule, Role


@dataclass(frozen=True)
class CommandKind:
    """One command: its recommended least role and number of people, and what it does in a few words."""

    role: Role
    approvals: int
    does: str

    @property
    def rule(self) -> PolicyRule:
        """Return the recommended rule of a policy."""
        return PolicyRule(role=self.role, approvals=self.approvals)


COMMANDS: dict[str, CommandKind] = {
    "status": CommandKind(Role.VIEWER, 1, "tell the state"),
    "self-report": CommandKind(Role.VIEWER, 1, "measure and tell"),
    "daily-summaries": CommandKind(
        Role.VIEWER, 1, "send what was kept of the last days: figures, no pictures"
    ),
    "snapshot": CommandKind(Role.OPERATOR, 1, "send a picture of a camera"),
    "logs": CommandKind(Role.OPERATOR, 1, "send the last log lines"),
    "diagnostics": CommandKind(
        Role.OPERATOR, 1, "make the diagnostics bundle, and send it where it is small"
    ),
    "self-test": CommandKind(
        Role.OPERATOR, 1, "prove the running model again, and check the device"
    ),
    "capture": CommandKind(Role.OPERATOR, 1, "keep some pictures on the device"),
    "collect-examples": CommandKind(
        Role.OPERATOR,
        1,
        "send sealed pictures that are worth a label, and remove those that arrived",
    ),
    "start-shadow": CommandKind(
        Role.DEPLOYER, 1, "judge another model against the running one on live frames"
    ),
    "stop-shadow": CommandKind(Role.OPERATOR, 1, "end that"),
    "shadow-report": CommandKind(Role.OPERATOR, 1, "send what it found, with pictures"),
    "pause-camera": CommandKind(Role.OPERATOR, 1, "close a camera until it is resumed"),
    "resume-camera": CommandKind(Role.OPERATOR, 1, "open a paused camera again"),
    "learn-view": CommandKind(
        Role.OPERATOR, 1, "take what a camera shows from now on for its usual view"
    ),
    "restart": CommandKind(Role.OPERATOR, 1, "start the worker or the agent again"),
    "pin-rung": CommandKind(Role.OPERATOR, 1, "hold the governor on a rung"),
    "deploy": CommandKind(Role.DEPLOYER, 2, "install a release"),
    "rollback": CommandKind(Role.DEPLOYER, 1, "go back to the release before"),
    "force-downgrade": CommandKind(
        Role.ADMIN, 2, "install a release that is older than the newest"
    ),
    "rotate-keys": CommandKind(Role.ADMIN, 2, "make a new device key and let it take over"),
    "update-agent": CommandKind(Role.ADMIN, 2, "install another version of the agent, on trial"),
    "set-config": CommandKind(Role.DEPLOYER, 1, "change settings, on trial"),
    "set-config-protected": CommandKind(
        Role.ADMIN,
        2,
        "change settings that say whom the device trusts and who reaches it, on trial",
    ),
}


def recommended_rules() -> dict[str, PolicyRule]:
    """Return the recommended rule of every command."""
    return {name: kind.rule for name, kind in COMMANDS.items()}
