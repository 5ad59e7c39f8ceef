"""What can be known.

What enters: events in the order of the log. What leaves: guarded writes into the read store, one file a read model.
What it never does: decide anything, call anybody; a read model dropped and built again is the same.
"""
