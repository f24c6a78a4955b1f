"""Models and machines that can be simulated."""
