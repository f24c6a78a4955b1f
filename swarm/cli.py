"""The commands: parse, call, exit code; no logic."""


def main() -> None:
    raise SystemExit("not built yet")
