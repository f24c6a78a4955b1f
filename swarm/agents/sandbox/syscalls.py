"""The filter of system calls for code in the sandbox, assembled by hand as the kernel takes it (classic BPF, seccomp).

Most calls that could do harm need a right that the code has not. Refused here are those that need none.
"""

import errno
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCHITECTURE = 0, 4
"""Offsets into `struct seccomp_data`."""
_ALLOW, _KILL = 0x7FFF0000, 0x80000000
_REFUSE, _UNKNOWN = 0x50000 | errno.EPERM, 0x50000 | errno.ENOSYS

_X32 = 0x40000000
_NEW_NAMESPACES = 0x7E020000
"""All CLONE_NEW* of namespaces."""
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C
_UNIX, _INET, _INET6, _NETLINK = 1, 2, 10, 16
_ROUTE = 0
"""The protocol of netlink that lists network interfaces."""

REFUSED = (
    *("add_key", "request_key", "keyctl"),  # keys of the user, and of the session that swarm was started in
    *("ptrace", "process_vm_readv", "process_vm_writev", "kcmp", "pidfd_getfd", "process_madvise"),
    *("bpf", "userfaultfd", "perf_event_open", "io_uring_setup", "io_uring_enter", "io_uring_register"),
    *("unshare", "setns"),
    *("shmget", "semget", "msgget", "memfd_create", "memfd_secret"),  # memory that no limit of a process counts
)


@dataclass(frozen=True, slots=True)
class _Machine:
    audit: int
    """AUDIT_ARCH_*: what the kernel calls the way that a system call was made in."""
    numbers: Mapping[str, int]


_COMMON = {"clone3": 435, "pidfd_getfd": 438, "process_madvise": 440, "memfd_secret": 447} | {
    f"io_uring_{name}": number for number, name in enumerate(("setup", "enter", "register"), 425)
}
_X86_64 = {"ioctl": 16, "shmget": 29, "socket": 41, "socketpair": 53, "clone": 56, "semget": 64, "msgget": 68}
_X86_64 |= {"ptrace": 101, "add_key": 248, "request_key": 249, "keyctl": 250, "unshare": 272, "perf_event_open": 298}
_X86_64 |= {"setns": 308, "process_vm_readv": 310, "process_vm_writev": 311, "kcmp": 312, "memfd_create": 319}
_X86_64 |= {"bpf": 321, "userfaultfd": 323}
_AARCH64 = {"ioctl": 29, "unshare": 97, "ptrace": 117, "msgget": 186, "semget": 190, "shmget": 194, "socket": 198}
_AARCH64 |= {"socketpair": 199, "add_key": 217, "request_key": 218, "keyctl": 219, "clone": 220}
_AARCH64 |= {"perf_event_open": 241, "setns": 268, "process_vm_readv": 270, "process_vm_writev": 271, "kcmp": 272}
_AARCH64 |= {"memfd_create": 279, "bpf": 280, "userfaultfd": 282}

MACHINES = {
    "x86_64": _Machine(0xC000003E, _COMMON | _X86_64),
    "aarch64": _Machine(0xC00000B7, _COMMON | _AARCH64),
}


def filter_of(machine: str) -> bytes:
    """The filter for a machine as `platform.machine()` names it. KeyError for one whose numbers are not known."""
    known = MACHINES[machine]
    number = known.numbers
    program = [
        *_load(_ARCHITECTURE),
        *_unless(known.audit, _KILL),  # of 32 bits: other numbers
        *_load(_NUMBER),
        *((_step(_AT_LEAST, _X32, 0, 1), _step(_RETURN, _KILL)) if machine == "x86_64" else ()),
    ]
    for name in REFUSED:
        program += _when(number[name], [_step(_RETURN, _REFUSE)])
    program += _when(number["clone3"], [_step(_RETURN, _UNKNOWN)])  # its flags cannot be seen; libraries take `clone`
    program += _when(number["clone"], [*_argument(0), _step(_ANY_BIT, _NEW_NAMESPACES, 0, 1), _step(_RETURN, _REFUSE)])
    program += _when(number["ioctl"], [*_argument(1), *_refuse(_TIOCSTI), *_refuse(_TIOCLINUX)])
    for name in ("socket", "socketpair"):
        program += _when(number[name], _families())
    return b"".join([*program, _step(_RETURN, _ALLOW)])


def _families() -> list[bytes]:
    """Sockets of this machine's processes and of the network inside; of netlink, only what lists interfaces."""
    allowed = [step for family in (_UNIX, _INET, _INET6) for step in _when(family, [])]
    return [*_argument(0), *allowed, *_unless(_NETLINK, _REFUSE), *_argument(2), *_unless(_ROUTE, _REFUSE)]


def _step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    """One instruction; jumps skip so many that follow."""
    return struct.pack("=HBBI", code, if_true, if_false, value)


def _load(offset: int) -> Iterable[bytes]:
    yield _step(_LOAD, offset)


def _argument(index: int) -> Iterable[bytes]:
    """Its lower half: those that are looked at are of 32 bits. Both machines have it first."""
    return _load(16 + 8 * index)


def _when(value: int, steps: list[bytes]) -> list[bytes]:
    """Takes the steps if what was loaded is `value`, and allows the call where they say nothing."""
    ended = [*steps, _step(_RETURN, _ALLOW)]
    return [_step(_EQUAL, value, 0, len(ended)), *ended]


def _refuse(value: int) -> list[bytes]:
    return [_step(_EQUAL, value, 0, 1), _step(_RETURN, _REFUSE)]


def _unless(value: int, action: int) -> list[bytes]:
    return [_step(_EQUAL, value, 1, 0), _step(_RETURN, action)]
