import ast
import importlib
from pathlib import Path

import pytest

import accounts

ALLOWED = {
    "routes": {"accounts.service", "accounts.users", "accounts.web", "typing"},
    "service": {"accounts.passwords", "accounts.users", "hmac", "re", "typing"},
    "passwords": {"hashlib", "hmac", "re"},
    "users": {"dataclasses"},
}


@pytest.mark.parametrize("layer", ALLOWED)
def test_a_layer_imports_only_what_is_below_it(layer):
    tree = ast.parse((Path(accounts.__file__).parent / f"{layer}.py").read_text())
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    imported |= {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    assert imported <= ALLOWED[layer]


def test_passwords_stand_alone():
    passwords = importlib.import_module("accounts.passwords")
    stored = passwords.hash_password("correct horse 1", "0123456789abcdef")
    assert stored.startswith("0123456789abcdef$") and len(stored) == 17 + 64
    assert passwords.verify("correct horse 1", stored)
    assert not passwords.verify("correct horse 2", stored)


def test_the_service_works_without_http(store, outbox, random_hex):
    service = importlib.import_module("accounts.service")
    users = service.AccountService(store, outbox, random_hex)
    assert users.sign_up(" Ann@Example.org", "correct horse 1") == "ann@example.org"
    with pytest.raises(service.Taken):
        users.sign_up("ann@example.org", "correct horse 1")
    with pytest.raises(service.NotConfirmed):
        users.sign_in("ann@example.org", "correct horse 1")
    users.confirm("ann@example.org", outbox.mails[0].text[-7:-1])
    assert len(users.sign_in("ann@example.org", "correct horse 1")) == 32
