"""A small living network of simulated parties: charge points that speak OCPP 1.6J, a CPO and an eMSP that speak OCPI.

What enters: the public addresses of a running ChargeSphere and a token for `/api/v1`. What leaves: real traffic
through those doors, counters, and a verdict on whether every charge became a delivered CDR. It never touches the
log, a store or any other inside of the backend, so that it can live beside either runtime or far from it.
"""
