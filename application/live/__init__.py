"""Live push: what is told in public, to whoever listens just now (ADR 30).

What enters: the public topics, read once a process. What leaves: a bounded stream of events for each listener, with
bookmarks by which it is resumed. It stands below every door that pushes and knows no transport.
"""
