"""The way to the broker: link, signed commands, Home Assistant discovery."""
