"""The operating system's edge: durable files, systemd, sensors, board facts, plug-in loading."""
