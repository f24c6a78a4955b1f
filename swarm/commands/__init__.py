"""One module for each command that does something: what `swarm run`, `soak`, `capacity` and the others do."""
