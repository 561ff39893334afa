"""What a process does with memory that it has freed."""

import ctypes
import platform

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's malloc.h
MOST = 2**31 - 1  # bytes; mallopt takes an int


def keep_freed_memory() -> None:
    """Let this process keep what it frees for what it allocates next, where its allocator is glibc's.

    A training step frees and allocates the same hundreds of megabytes. By default glibc gives blocks of some megabytes
    back at once and the kernel hands them out again page by page, zeroed, which costs a DNN step on two CPU cores a
    third of its time.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, MOST)
