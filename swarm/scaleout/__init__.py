"""The agents of a stage, shared among processes of this machine or nodes of a Ray cluster, and their coordinator."""
