"""A process that reads files of strangers gets no network and starts no programs.

By a seccomp filter: what is forbidden fails with "permission denied", as it would behind a wall.
Best effort: on another processor or an old kernel the process runs without it, and the libraries
alone keep to what they promise.
"""

import ctypes
import errno
import platform
import struct

_PR_SET_NO_NEW_PRIVS = 38
_PR_SET_SECCOMP = 22
_MODE_FILTER = 2
_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000 | errno.EACCES
_NUMBER, _MACHINE = 0, 4  # offsets in the kernel's seccomp_data
# socket, connect, bind, execve, execveat, io_uring_setup (which can open sockets on its own)
_FORBIDDEN = {
    "x86_64": (0xC000003E, (41, 42, 49, 59, 322, 425)),
    "aarch64": (0xC00000B7, (198, 203, 200, 221, 281, 425)),
}


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def forbid_network_and_programs() -> bool:
    """For this process, for good; whether the kernel agreed."""
    if platform.machine() not in _FORBIDDEN:
        return False
    code = _filter(*_FORBIDDEN[platform.machine()])
    program = _Program(len(code) // 8, code)
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    if prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return False
    return bool(prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(program), 0, 0) == 0)


def _filter(machine: int, numbers: tuple[int, ...]) -> bytes:
    """Another machine's call (32 bit) or a forbidden one is refused, every other allowed."""
    steps = [(_LOAD, 0, 0, _MACHINE), (_EQUAL, 0, len(numbers) + 2, machine)]
    steps.append((_LOAD, 0, 0, _NUMBER))
    for place, number in enumerate(numbers):
        steps.append((_EQUAL, len(numbers) - place, 0, number))
    steps += [(_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _REFUSE)]
    return b"".join(struct.pack("HBBI", *step) for step in steps)
