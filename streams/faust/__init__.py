"""The Faust application, which owns the read models of sessions, CDRs and tokens."""
