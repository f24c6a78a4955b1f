"""Users in memory, and the outbox for mails."""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class User:
    """`code` is None once the address is confirmed."""

    email: str
    password: str
    code: str | None

    @property
    def confirmed(self) -> bool:
        return self.code is None


@dataclass(frozen=True)
class Mail:
    to: str
    text: str


class UserStore:
    """Users by their address."""

    def __init__(self) -> None:
        self._users: dict[str, User] = {}
        self.tokens: dict[str, str] = {}

    def find(self, email: str) -> User | None:
        return self._users.get(email)

    def save(self, user: User) -> None:
        self._users[user.email] = user

    def confirm(self, email: str) -> None:
        self._users[email] = replace(self._users[email], code=None)


class Outbox:
    """Mails that wait for being sent."""

    def __init__(self) -> None:
        self.mails: list[Mail] = []

    def send(self, to: str, text: str) -> None:
        self.mails.append(Mail(to, text))
