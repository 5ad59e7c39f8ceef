"""What edges share: who may charge, remote commands, tokens, look-ups, limits, the vault, reading back.

It stands below `api` and `gateway` and knows no transport.
"""
