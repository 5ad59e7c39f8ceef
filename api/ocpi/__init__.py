"""OCPI's doors: every request of a partner enters here, an envelope leaves, whatever happens.

The pipeline does what all requests have in common: ids, authorization, limits, errors. A table (`routes`) says
which function serves which module. What is decided is decided behind the log, what is shown is read from the store.
"""

from api.ocpi.identity import Identity
from api.ocpi.pipeline import ocpi_router
from api.ocpi.ports import Discovery, Peers, Ports

__all__ = [
    "Discovery",
    "Identity",
    "Peers",
    "Ports",
    "ocpi_router",
]
