"""Code that a model could write to get out of the sandbox, or to take more than its share, each in a few lines.

Each prints "held" if the sandbox held, or what it got hold of.
"""

import pytest

FORKS = """
        children = 0
        while children < 500:
            try:
                if os.fork() == 0:
                    time.sleep(60)
                    os._exit(0)
            except BlockingIOError:
                break
            children += 1
        found = [] if 3 <= children < 32 else [children]
    """

ATTACKS = {
    # What can be seen
    "read a key in the environment": """
        seen = [str(os.environ)]
        for pid in filter(str.isdecimal, os.listdir("/proc")):
            attempt(lambda: seen.append(open(f"/proc/{pid}/environ").read()))
        found = [text for text in seen if "do-not-tell" in text or "SWARM_TEST" in text]
    """,
    "look through the file system": """
        wanted = {"secret.txt", "socket", "scenario.yaml", "events.jsonl", "shadow", "passwd", ".ssh", ".bash_history"}
        places = ["/", "/etc", "/tmp", "/home", "/root", "/run", "/var", "/opt", "/mnt", "/srv", FACTS["home"]]
        found = []
        for place in [*places, FACTS["outside"], FACTS["repository"]]:
            attempt(lambda: found.extend(f"{place}/{name}" for name in os.listdir(place) if name in wanted))
    """,
    "look at other processes": """
        found = [pid for pid in os.listdir("/proc") if pid.isdecimal() and int(pid) not in (1, os.getpid())]
    """,
    "use what was left open": """
        found = []
        for pid in ("self", "1"):
            for name in attempt(os.listdir, f"/proc/{pid}/fd") == "done" and os.listdir(f"/proc/{pid}/fd") or ():
                attempt(lambda: found.append(os.readlink(f"/proc/{pid}/fd/{name}")))
        harmless = ("pipe:", "/dev/null", "anon_inode:", "/proc/")
        found = [target for target in found if not target.startswith(harmless)]
    """,
    "go in by the root or the working directory of another process": """
        found = []
        for pid in filter(str.isdecimal, os.listdir("/proc")):
            for door in ("root", "cwd"):
                attempt(lambda: found.append(open(f"/proc/{pid}/{door}{FACTS['outside']}/secret.txt").read()))
                attempt(lambda: found.append(open(f"/proc/{pid}/{door}/etc/passwd").read()))
    """,
    "read the memory of another process": """
        found = [attempt(open, "/proc/1/mem", "r+b")] if os.getuid() != os.stat("/proc/1").st_uid else []
        found += [attempt(open, f"/proc/{FACTS['pid']}/mem", "rb")]
        found = [how for how in found if how == "done"]
    """,
    # The network
    "call a server on this machine": """
        found = [attempt(socket.create_connection, ("127.0.0.1", FACTS["port"]), 2)]
        found = [] if found[0] == "ECONNREFUSED" else found
    """,
    "call a socket by its file": """
        caller = socket.socket(socket.AF_UNIX)
        place = FACTS["outside"] + "/socket"
        how = attempt(os.stat, place)
        found = [] if how == "ENOENT" else [how]
    """,
    "call a socket by its abstract name": """
        how = attempt(socket.socket(socket.AF_UNIX).connect, "\\0" + FACTS["abstract"])
        found = [] if how == "ECONNREFUSED" else [how]
    """,
    "reach another network": """
        found = [name for _, name in socket.if_nameindex() if name != "lo"]
        for address in ("192.0.2.1", "10.0.0.1", "169.254.169.254", "8.8.8.8"):
            how = attempt(socket.create_connection, (address, 80), 2)
            found += [] if how in ("ENETUNREACH", "EHOSTUNREACH") else [(address, how)]
    """,
    "look up a name": """
        try:
            found = socket.getaddrinfo("example.com", 80)
        except socket.gaierror:
            found = []
    """,
    "open a raw socket": """
        kinds = [(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP), (socket.AF_PACKET, socket.SOCK_RAW, 0)]
        found = [kind for kind in kinds if attempt(socket.socket, *kind) != "EPERM"]
    """,
    # Signals
    "signal the load generator": """
        everybody = [FACTS["pid"], os.getppid(), 1, 0x7FFFFFFE]
        numbers = (signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP)
        for pid in everybody:
            for number in numbers:
                attempt(os.kill, pid, number)
        time.sleep(0.05)
        found = []  # that the load generator still runs is what the test sees
    """,
    # Rights
    "become root": """
        found = [name for name in ("setuid", "setgid", "seteuid") if attempt(getattr(os, name), 0) == "done"]
        found += [number for number in (os.getuid(), os.geteuid(), os.getgid(), *os.getgroups()) if number == 0]
    """,
    "have capabilities": """
        status = dict(line.split(":\\t") for line in open("/proc/self/status") if ":\\t" in line)
        found = [name for name in ("CapEff", "CapPrm", "CapAmb") if int(status[name], 16)]
        found += [] if status["NoNewPrivs"].strip() == "1" else ["new privileges by a set-uid program"]
    """,
    "run a set-uid program": """
        programs = [f"/usr/bin/{name}" for name in os.listdir("/usr/bin")]
        suid = [path for path in programs if os.path.exists(path) and os.stat(path).st_mode & 0o4000]
        found = []
        for path in suid[:3]:
            child = subprocess.Popen([path], stdin=-3, stdout=-3, stderr=-3)
            status = attempt(lambda: found.extend(
                line for line in open(f"/proc/{child.pid}/status") if line.startswith("Uid:") and "\\t0" in line))
            child.kill()
            child.wait()
    """,
    "raise the limits again": """
        kinds = ("CPU", "AS", "FSIZE", "NPROC", "NOFILE", "CORE")
        endless = resource.RLIM_INFINITY
        found = []
        for kind in kinds:
            try:
                resource.setrlimit(getattr(resource, f"RLIMIT_{kind}"), (endless, endless))
                found.append(kind)
            except ValueError:
                pass  # not allowed
    """,
    "mount, move the root, make a device": """
        import ctypes
        libc = ctypes.CDLL(None, use_errno=True)
        got = {
            "mount": libc.mount(b"none", b"/tmp", b"tmpfs", 0, b""),
            "remount": libc.mount(None, b"/", None, 4096 | 32, None),
            "umount": libc.umount2(b"/proc", 2),
            "setns": libc.setns(os.open("/proc/self/ns/mnt", os.O_RDONLY), 0),
            "sethostname": libc.sethostname(b"x", 1),
        }
        found = [name for name, status in got.items() if status == 0]
        found += [name for name in ("chroot",) if attempt(os.chroot, "/tmp") == "done"]
        found += ["mknod"] * (attempt(os.mknod, "/tmp/disk", 0o60666, os.makedev(8, 0)) == "done")
    """,
    "trace the process above": """
        import ctypes
        libc = ctypes.CDLL(None, use_errno=True)
        others = [FACTS["pid"], *([1] if os.getuid() != os.stat("/proc/1").st_uid else [])]
        found = [pid for pid in others if libc.ptrace(16, pid, 0, 0) == 0]
    """,
    "set the kernel": """
        places = ["/proc/sys/kernel/hostname", "/proc/sys/vm/overcommit_memory", "/proc/sys/kernel/core_pattern"]
        places += ["/proc/sysrq-trigger", "/sys/kernel/uevent_helper", "/dev/kmsg", "/dev/mem", "/dev/kvm"]
        found = [place for place in places if attempt(os.open, place, os.O_WRONLY) == "done"]
    """,
    "type on the terminal": """
        how = attempt(os.open, "/dev/tty", os.O_RDWR)
        found = [] if how in ("ENXIO", "ENOENT") else [how]
    """,
    # Writing
    "write where it should not": """
        places = ["/usr/bin/env", "/usr/x", "/bin/x", "/etc/x", "/x", "/dev/x", "/source/x", "/source/pkg/code.py"]
        places += ["/confine.py", sys.executable, os.__file__, sys.prefix + "/pyvenv.cfg", "/proc/x"]
        if not sys.prefix.startswith("/tmp/"):  # there the folder around it is of the private temporary one
            places.append(sys.prefix + "/x")
        found = [place for place in places if attempt(open, place, "a") == "done"]
        found += [place for place in places if attempt(os.chmod, place, 0o777) == "done"]
        found += [place for place in places if attempt(os.unlink, place) == "done"]
    """,
    "link what is outside into the workspace": """
        doors = [FACTS["outside"] + "/secret.txt", "/source/pkg/code.py", "/usr/bin/env", sys.executable]
        found = [door for door in doors if attempt(os.link, door, "hard") == "done"]
    """,
    "leave something for the next run": """
        places = ["/tmp", "/dev/shm", "/workspace"]
        found = [f"{place}/{name}" for place in places for name in os.listdir(place) if name == "left"]
        for place in places:
            open(f"{place}/left", "w").close()
    """,
    # More than its share
    "a fork bomb": FORKS,
    "a fork bomb in a namespace of users": """
        import ctypes
        ctypes.CDLL(None).unshare(0x10000000)
    """
    + FORKS,
    "a bomb of threads": """
        threading.stack_size(65536)
        stop = threading.Event()
        threads = 0
        try:
            while threads < 500:
                threading.Thread(target=stop.wait, daemon=True).start()
                threads += 1
        except RuntimeError:
            pass
        stop.set()
        found = [] if 3 <= threads < 32 else [threads]
    """,
    "a memory bomb": """
        held, size = [], 0
        try:
            while size < 4096:
                held.append(bytearray(16 << 20))
                size += 16
        except MemoryError:
            held.clear()
        found = [] if 16 <= size <= 256 else [size]
    """,
    "a memory bomb in one go": """
        try:
            found = [len(bytearray(1 << 40))]
        except MemoryError:
            found = []
    """,
    "fill the disk with large files": """
        found = []
        for place in ("/tmp", "/dev/shm", "/workspace"):
            written, how = 0, "done"
            for number in range(20):
                file = os.open(f"{place}/{number}", os.O_WRONLY | os.O_CREAT)
                while (how := attempt(os.write, file, bytes(65536))) == "done":
                    written += 65536
                size = os.fstat(file).st_size
                found += [(place, "a file of", size)] if size > 1 << 20 else []
                if how == "ENOSPC":
                    break
            found += [] if how == "ENOSPC" and (1 << 20) <= written <= (2 << 20) else [(place, how, written)]
    """,
    "a file with a hole in it": """
        how = attempt(os.truncate, os.open("/tmp/hole", os.O_RDWR | os.O_CREAT), 1 << 40)
        found = [] if how == "EFBIG" else [how]
    """,
    "open everything": """
        opened = []
        how = attempt(lambda: [opened.append(os.open("/dev/null", os.O_RDONLY)) for _ in range(5000)])
        found = [] if how == "EMFILE" and len(opened) < 64 else [how, len(opened)]
    """,
    "dump a core": """
        found = [limit for limit in resource.getrlimit(resource.RLIMIT_CORE) if limit]
    """,
    "take the CPU from the load generator": """
        found = [] if os.nice(0) >= 5 else [os.nice(0)]
        found += ["a higher priority"] if attempt(os.nice, -5) == "done" else []
    """,
    "ask to be spared when memory runs out": """
        attempt(lambda: open("/proc/self/oom_score_adj", "w").write("-1000"))
        score = int(open("/proc/self/oom_score_adj").read())
        found = [score] if score < 0 else []
    """,
}
HELD = '\nprint("held" if not found else found)\n'


def program(code: str) -> str:
    """The lines of a text that is indented as a whole."""
    lines = code.strip("\n").splitlines()
    margin = len(lines[0]) - len(lines[0].lstrip())
    return "\n".join(line[margin:] for line in lines) + HELD


@pytest.mark.parametrize("attack", ATTACKS)
async def test_the_sandbox_holds_against_code_that_tries_to(cell, attack):
    finished = await cell.run(program(ATTACKS[attack]))
    assert finished.output == "held\n"
    assert (finished.status, finished.stopped) == (0, None)
    assert cell.untouched()
