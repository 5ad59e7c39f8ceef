"""A whole world in one process and in virtual time, the same again from the same seed."""
