from soaks import soaks, trouble

__all__ = ["soaks", "trouble"]
