"""OCPP-J: frames, calls and messages between charge points and the central system.

In: text frames and payloads as bytes. Out: exact types, flags for what was odd, and refusals as values with the error
code that the standard wants. It holds no socket, no clock and no queue.

`frames` and `calls` serve every version; what belongs to one version lives in a folder of its own (`v16`).
"""
