"""The filter of system calls, read as the kernel reads it, for machines that this one is not as well."""

import errno
import struct

import pytest

from swarm.agents.sandbox.syscalls import MACHINES, REFUSED, filter_of

ALLOWED, KILLED = 0x7FFF0000, 0x80000000
REFUSES, UNKNOWN = 0x50000 | errno.EPERM, 0x50000 | errno.ENOSYS
ORDINARY = {"x86_64": {"read": 0, "execve": 59, "openat": 257}, "aarch64": {"read": 63, "execve": 221, "openat": 56}}


def verdict(machine, number, *arguments, audit=None):
    data = struct.pack("=IIQ6Q", number, audit or MACHINES[machine].audit, 0, *(*arguments, *(0,) * 6)[:6])
    program, at, held = list(struct.iter_unpack("=HBBI", filter_of(machine))), 0, 0
    while True:
        code, if_true, if_false, value = program[at]
        at += 1
        match code:
            case 0x20:
                (held,) = struct.unpack_from("=I", data, value)
            case 0x06:
                return value
            case _:
                taken = {0x15: held == value, 0x35: held >= value, 0x45: bool(held & value)}[code]
                at += if_true if taken else if_false


@pytest.mark.parametrize("machine", MACHINES)
def test_what_is_refused_and_what_is_not(machine):
    number = MACHINES[machine].numbers
    assert {verdict(machine, number[name]) for name in REFUSED} == {REFUSES}
    assert {verdict(machine, ordinary) for ordinary in ORDINARY[machine].values()} == {ALLOWED}
    assert verdict(machine, number["clone3"]) == UNKNOWN
    assert verdict(machine, number["clone"], 0x003D0F00) == ALLOWED  # a thread
    assert verdict(machine, number["clone"], 17) == ALLOWED  # a process
    assert {verdict(machine, number["clone"], 1 << bit | 17) for bit in (17, 25, 26, 27, 28, 29, 30)} == {REFUSES}
    assert [verdict(machine, number["ioctl"], 0, what) for what in (0x5401, 0x5412, 0x541C)] == [
        ALLOWED,
        REFUSES,
        REFUSES,
    ]
    # Bits above those that the kernel takes change nothing.
    assert verdict(machine, number["ioctl"], 0, 0x5412 | 1 << 32) == REFUSES


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("name", ["socket", "socketpair"])
def test_families_of_sockets(machine, name):
    number = MACHINES[machine].numbers[name]
    allowed = [family for family in range(300) if verdict(machine, number, family, 1, 0) == ALLOWED]
    assert allowed == [1, 2, 10, 16]
    assert verdict(machine, number, 40 | 1 << 32, 1, 0) == REFUSES
    assert [verdict(machine, number, 16, 3, protocol) for protocol in (0, 4, 12, 15)] == [ALLOWED, *[REFUSES] * 3]


@pytest.mark.parametrize("machine", MACHINES)
def test_calls_made_in_another_way_end_the_process(machine):
    for audit in (0x40000003, 0x40000028, 0xC0000015):  # i386, arm, ppc64
        assert verdict(machine, 0, audit=audit) == KILLED
    if machine == "x86_64":
        assert verdict(machine, 0x40000000 + 39) == KILLED


def test_a_machine_whose_numbers_are_not_known_has_no_filter():
    with pytest.raises(KeyError):
        filter_of("riscv64")
