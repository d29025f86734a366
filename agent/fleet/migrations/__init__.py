"""How the controller's tables became what they are: Alembic's scripts, one file in `versions` for each version.

A new one: change `agent.fleet.tables` and its `SCHEMA`, write `versions/vNNNN_what.py` after the newest, and add a line to
`docs/enrolment.md` where people must do something. A test compares what the scripts make with the tables.

Controllers of the version before may still be at work while a script runs, and after it: it adds tables and columns
(with a default), and takes away only what no version since two has used. It runs inside one transaction, with others.
"""
