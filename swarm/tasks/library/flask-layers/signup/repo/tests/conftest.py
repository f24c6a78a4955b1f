import random

import pytest

from accounts.users import Outbox, UserStore


@pytest.fixture
def store():
    return UserStore()


@pytest.fixture
def outbox():
    return Outbox()


@pytest.fixture
def random_hex():
    rng = random.Random(3)
    return lambda length: "".join(rng.choices("0123456789abcdef", k=length))
