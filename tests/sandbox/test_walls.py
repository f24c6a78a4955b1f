"""The kernel's side doors: keys, other address families, system calls, the first process, memory of a job together."""

import ctypes
import os
import platform
from dataclasses import replace

import pytest
from test_attacks import program

from swarm.agents.sandbox import syscalls
from swarm.agents.sandbox.bubblewrap import Sandbox
from swarm.agents.sandbox.cgroup import MemoryGroups

PRELUDE = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)

def call(number, *arguments):
    ctypes.set_errno(0)
    result = libc.syscall(number, *arguments)
    return "done" if result >= 0 else errno.errorcode[ctypes.get_errno()]
"""
NUMBERS = syscalls.MACHINES[platform.machine()].numbers
SESSION, READ, REVOKE, GET_ID, SEARCH = -3, 11, 3, 0, 10

ATTACKS = {
    "read and replace keys of the session that swarm was started in": """
        secret = ctypes.create_string_buffer(64)
        found = [call(NUMBERS["keyctl"], 11, FACTS["key"], secret, 64), secret.value.decode()]
        found += [call(NUMBERS["keyctl"], 10, -3, b"user", FACTS["key_name"].encode(), 0)]
        found += [call(NUMBERS["request_key"], b"user", FACTS["key_name"].encode(), None, -3)]
        found += [call(NUMBERS["add_key"], b"user", b"left", b"x", 1, ring) for ring in (-1, -2, -3, -4, -5)]
        found += [call(NUMBERS["keyctl"], 0, ring, 0) for ring in (-1, -2, -3, -4, -5)]
        found = [what for what in found if what not in ("EPERM", "")]
        found += [path for path in ("/proc/keys", "/proc/key-users") if attempt(open, path) != "EACCES"]
    """,
    "open a socket of another family": """
        kinds = [socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET, socket.SOCK_RAW]
        found = []
        for family in set(range(64)) - {socket.AF_UNIX, socket.AF_INET, socket.AF_INET6}:
            for kind in kinds:
                for protocol in (0, 1, 12):
                    if (family, protocol) != (socket.AF_NETLINK, 0):
                        how = attempt(socket.socket, family, kind, protocol)
                        pair = call(NUMBERS["socketpair"], family, kind, protocol, (ctypes.c_int * 2)())
                        found += [] if how == pair == "EPERM" else [(family, kind, protocol, how, pair)]
    """,
    "talk to the host of a virtual machine": """
        found = [how for host in (0, 1, 2) if (how := attempt(
            lambda: socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM).connect((host, 1)))) != "EPERM"]
    """,
    "call what no test needs": """
        found = [(name, how) for name in REFUSED if (how := call(NUMBERS[name], 0, 0, 0, 0, 0)) != "EPERM"]
    """,
    "make a namespace": """
        found = []
        for bit in (17, 25, 26, 27, 28, 29, 30):
            for flags in (1 << bit, 1 << bit | 1 << 28):
                how = call(NUMBERS["unshare"], flags), call(NUMBERS["clone"], flags | 17, None, None, None, None)
                found += [] if set(how) == {"EPERM"} else [(bit, how)]
        found += [] if call(NUMBERS["clone3"], None, 0) == "ENOSYS" else ["clone3"]
    """,
    "type on its terminal": """
        import fcntl, pty, termios
        def types():
            os.setsid()
            master, slave = os.openpty()
            os.close(os.open(os.ttyname(slave), os.O_RDWR))
            os.write(3, attempt(fcntl.ioctl, slave, termios.TIOCSTI, b"x").encode())
        read_end, write_end = os.pipe()
        if os.fork() == 0:
            os.dup2(write_end, 3)
            types()
            os._exit(0)
        os.wait()
        found = [] if (how := os.read(read_end, 99)) == b"EPERM" else [how]
    """,
    "ask to be spared when memory runs out, in any way": """
        found = []
        child = subprocess.Popen(["sleep", "60"])
        for who in ("self", "1", child.pid, f"self/task/{os.getpid()}"):
            for name, values in (("oom_score_adj", ("-1000", "0", "999")), ("oom_adj", ("-17", "0"))):
                for value in values:
                    attempt(lambda: open(f"/proc/{who}/{name}", "w").write(value))
            score = open(f"/proc/{who}/oom_score_adj").read().strip()
            found += [] if score == "1000" else [(who, score)]
        child.kill()
    """,
    "write into /proc": """
        places = ["self/comm", "self/coredump_filter", "self/uid_map", "self/timerslack_ns", "sys/kernel/hostname"]
        found = [(place, how) for place in places if (how := attempt(open, f"/proc/{place}", "w")) == "done"]
    """,
    "take over the first process": """
        found = [name for name in ("mem", "environ", "maps", "root/etc", "fd", "cwd/x")
                 if attempt(os.open, f"/proc/1/{name}", os.O_RDONLY) not in ("EACCES", "ENOENT")]
        found += ["mem"] * (attempt(open, "/proc/1/mem", "r+b") != "EACCES")
        found += [] if call(NUMBERS["ptrace"], 16, 1, 0, 0) == "EPERM" else ["ptrace"]
        for number in set(signal.Signals) - {signal.SIGCHLD}:
            attempt(os.kill, 1, number)
        time.sleep(0.05)
    """,
}


@pytest.fixture
def planted(cell):
    """A key in the session of these tests, which a process that they start inherits."""
    libc = ctypes.CDLL(None, use_errno=True)
    name = f"swarm-test-{os.urandom(4).hex()}"
    key = libc.syscall(NUMBERS["add_key"], b"user", name.encode(), b"SECRET", 6, SESSION)
    cell.facts |= {"key": key, "key_name": name}
    yield key
    if key > 0:
        libc.syscall(NUMBERS["keyctl"], REVOKE, key)


@pytest.mark.parametrize("attack", ATTACKS)
async def test_the_walls_hold_against_code_that_tries_to(cell, planted, attack):
    known = f"NUMBERS = {dict(NUMBERS)}\nREFUSED = {syscalls.REFUSED}\n"
    finished = await cell.run(PRELUDE + known + program(ATTACKS[attack]))
    assert finished.output == "held\n"
    assert (finished.status, finished.stopped) == (0, None)
    assert cell.untouched()


ALIEN = {
    "of 32 bits": b"\xb8\x14\x00\x00\x00\xcd\x80\xc3",  # mov eax, 20 (getpid); int 0x80; ret
    "of x32": b"\xb8\x27\x00\x00\x40\x0f\x05\xc3",  # mov eax, 0x40000027 (getpid); syscall; ret
}


@pytest.mark.skipif(platform.machine() != "x86_64", reason="machine code of x86-64")
@pytest.mark.parametrize("kind", ALIEN)
async def test_system_calls_with_other_numbers_end_the_process(cell, kind):
    finished = await cell.run(
        f"import ctypes, mmap\ncode = {ALIEN[kind]!r}\n"
        "page = mmap.mmap(-1, 4096, prot=7)\npage.write(code)\n"
        "enter = ctypes.CFUNCTYPE(ctypes.c_long)(ctypes.addressof(ctypes.c_char.from_buffer(page)))\n"
        "print('went on', enter())\n"
    )
    assert (finished.status, finished.output) == (128 + 31, "")  # SIGSYS


async def test_threads_pipes_and_processes_of_ordinary_tests_work(cell):
    result = await cell.test(
        "import asyncio, multiprocessing, socket, subprocess, sys, threading\n"
        "from multiprocessing import shared_memory\n\n"
        "def double(n):\n    return 2 * n\n\n"
        "def test_threads():\n    t = threading.Thread(target=double, args=(1,))\n    t.start()\n    t.join()\n\n"
        "def test_processes():\n"
        "    assert subprocess.run([sys.executable, '-c', 'print(1)'], capture_output=True).stdout == b'1\\n'\n"
        "    with multiprocessing.get_context('fork').Pool(2) as pool:\n        assert pool.map(double, [1]) == [2]\n\n"
        "def test_memory():\n    m = shared_memory.SharedMemory(create=True, size=9)\n    m.close()\n    m.unlink()\n\n"
        "def test_loopback():\n    asyncio.run(talk())\n\n"
        "async def talk():\n"
        "    server = await asyncio.start_server(lambda r, w: w.close(), '127.0.0.1', 0)\n"
        "    reader, _ = await asyncio.open_connection(*server.sockets[0].getsockname())\n"
        "    assert await reader.read() == b''\n"
    )
    assert result.text.splitlines()[-1] == "4 passed", result.text


TOGETHER = """
pids = []
for number in range(6):
    if (pid := os.fork()) == 0:
        held = bytearray(b"x" * (48 << 20))
        time.sleep(60)
        os._exit(0)
    pids.append(pid)
time.sleep(1)
killed = [os.waitpid(pid, os.WNOHANG)[1] for pid in pids]
print(killed.count(9))
"""


@pytest.mark.parametrize("together", [150 << 20, 800 << 20])
async def test_the_memory_of_all_processes_together_is_bounded(cell, together):
    if isinstance(cell.sandbox.memory, str):
        pytest.skip(f"no cgroups for memory: {cell.sandbox.memory}")
    for _ in range(2):  # the runs of a job share its bound
        finished = await cell.run(TOGETHER, together_bytes=together)
        if together > 6 * (48 << 20):
            assert (finished.status, finished.output) == (0, "0\n")
        else:  # the kernel ends the largest, or with version 2 all of them, the one that would tell included
            assert finished.status == 128 + 9 or int(finished.output) >= 2


async def test_files_in_memory_count_together_with_the_processes(cell):
    if isinstance(cell.sandbox.memory, str):
        pytest.skip(f"no cgroups for memory: {cell.sandbox.memory}")
    cell.sandbox = replace(
        cell.sandbox, limits=replace(cell.sandbox.limits, disk_bytes=256 << 20, file_bytes=256 << 20)
    )
    finished = await cell.run(
        "file = open('/tmp/x', 'wb')\nfor _ in range(150): file.write(bytes(1 << 20))\nprint('all')\n",
        together_bytes=100 << 20,
    )
    assert finished.output == ""
    assert finished.status == 128 + 9


def test_where_memory_is_not_bounded_together_it_is_told_with_the_reason():
    bounded = Sandbox("bwrap", memory=MemoryGroups(parent=None, version=2))
    assert bounded.told() == {"job_memory_bytes": 2 << 30, "notes": []}
    told = Sandbox("bwrap", memory="/sys/fs/cgroup: Permission denied").told()
    assert told["job_memory_bytes"] is None
    assert told["notes"] == [
        "the memory of all processes of a job together is not bounded here (/sys/fs/cgroup: Permission denied)"
    ]
