"""The local web page: live view, metrics and health."""
