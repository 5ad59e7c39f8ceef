"""Tests of the front door: settings, command line, processes, operations."""
