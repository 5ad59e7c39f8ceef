"""Effects: facts of the log become requests to partners and records for outsiders."""
