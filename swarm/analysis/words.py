"""Numbers in sentences."""


def counted(number: int, noun: str) -> str:
    """1 agent, 2 agents."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
