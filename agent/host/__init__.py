<<<<<<< HEAD
"""The operating system's edge: disk, memfds, systemd, board facts, sensors, processes and plug-ins."""
=======
"""The operating system's edge: durable files, systemd, sensors, board facts, plug-in loading."""
>>>>>>> tooling
