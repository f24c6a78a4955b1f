"""The logs that coding agents keep and the traces that others publish, read as a trace: a module for each format."""
