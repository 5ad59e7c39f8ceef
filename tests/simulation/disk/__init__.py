"""What a power loss leaves of the embedded files, and what a flipped byte does to them.

A recording of every write, sync and deletion of one run enters (`vfs`, `recording`); at any point in it the files
that a power loss could have left come out (`images`), are opened by the product's own code, and are held against
what it had acknowledged by then (`workload`, `promises`). Nothing in the product is changed for it: the recording
layer lies under SQLite.
"""
