"""Small web pages and interfaces over HTTP: who may ask, what every answer carries, a server in a thread."""
