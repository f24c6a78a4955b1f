"""The work of the agents, made ready for a target: sessions and traces whose texts have the tokens that they should."""
