"""The worker process as the control process sees it: spawned, talked to, watched, restarted, swapped."""

from agent.supervisor.conversation import Conversation
from agent.supervisor.routing import Happening, Listeners
from agent.supervisor.serving import Supervisor
from agent.supervisor.settings import WorkerSettings
from agent.supervisor.shadow import Shadow
from agent.supervisor.worker_process import Pictured, WorkerProcess

__all__ = [
    "Conversation",
    "Happening",
    "Listeners",
    "Pictured",
    "Shadow",
    "Supervisor",
    "WorkerProcess",
    "WorkerSettings",
]
