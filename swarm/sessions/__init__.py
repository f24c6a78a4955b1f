"""The load that coding agents make, as distributions and as sessions that are drawn from them; knows of no server."""
