"""swarm: how many coding agents can this model on this GPU really carry?"""

__version__ = "0.1.0"
