"""One completion in, stamped chunks out."""
