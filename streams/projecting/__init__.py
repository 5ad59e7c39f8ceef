"""Projecting: facts of the log become read models."""
