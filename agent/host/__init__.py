"""The operating system's edge: disk, memfds, systemd, board facts, sensors, processes and plug-ins."""
