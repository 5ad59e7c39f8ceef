"""The messages of OCPP 1.6, one module for each feature profile; `parts` holds what they share."""
