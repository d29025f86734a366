"""The worker process as the control process sees it: spawned, talked to, watched, restarted, swapped."""

from agent.supervisor.conversation import Conversation, WorkerSettings
from agent.supervisor.routing import Listeners
from agent.supervisor.serving import Supervisor
from agent.supervisor.worker_process import WorkerProcess

__all__ = ["Conversation", "Listeners", "Supervisor", "WorkerProcess", "WorkerSettings"]
