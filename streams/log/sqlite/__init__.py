"""The log in one SQLite file, for one process that needs no other server."""
