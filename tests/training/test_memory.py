"""Freed memory is kept for the next allocation, counted by the pages that the kernel had to hand out."""

import platform
import subprocess
import sys

import pytest

CODE = """
import resource
from fer_lightning.training.memory import keep_freed_memory

def pages():
    for i in range(10):  # 40 MB: above what glibc ever keeps by itself
        if i == 5:  # the heap has settled
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        b"1" * (40 << 20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

print(pages())
keep_freed_memory()
print(pages())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the allocator is not glibc's")
def test_freed_memory_is_kept():
    given_back, kept = map(int, subprocess.check_output([sys.executable, "-c", CODE], text=True).split())
    assert given_back > 5 * 40 * 100  # 40 MB are 10,240 pages of 4 kB
    assert kept < 1000
