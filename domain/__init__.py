"""Facts and rules.

What enters: a command's values, already resolved by the edge (times, ids, settings, token decisions). What
leaves: events, and aggregates folded from events. What it never does: input or output, reading a clock, drawing
random numbers, importing another room.
"""
