"""What can be asked.

What enters: a command, with everything that its decision needs from elsewhere already in it. What leaves: events
and a reply, or a named refusal. What it never does: sockets, stores, clocks; a decision reads its own aggregate's
state and the command, nothing else.
"""
