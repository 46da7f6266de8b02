"""One question to the Hugging Face hub before any other: is it there?"""

from __future__ import annotations

import socket
from urllib.parse import urlsplit


def hub_is_reachable() -> bool:
    """False where HF_HUB_OFFLINE is set, or the hub's name cannot be resolved and no proxy could do it for us.

    Without asking, huggingface_hub tries six times and complains on each, 23 seconds in all, on a machine without a
    network. True promises nothing.
    """
    # Neither is needed by those who ask the hub nothing, and urllib.request brings ssl and an HTTP client.
    from urllib.request import getproxies

    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    if {"https", "all"} & getproxies().keys():
        return True
    hub = urlsplit(constants.ENDPOINT)
    try:
        socket.getaddrinfo(hub.hostname, hub.port or 443)
    except OSError:
        return False
    return True
