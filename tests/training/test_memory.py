"""Freed memory is kept for the next allocation, counted by the pages that the kernel had to hand out."""

import platform
import subprocess
import sys

import pytest

CODE = """
import resource, sys
import torch
from fer_lightning.training.memory import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
for i in range(50):  # 40 MB: above what glibc ever keeps by itself
    if i == 40:  # the heap has settled
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(40 << 18)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def pages(setting: str) -> int:
    command = [sys.executable, "-c", CODE, setting]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the allocator is not glibc's")
def test_freed_memory_is_kept():
    assert pages("given back") > 10 * 40 * 100  # 40 MB are 10,240 pages of 4 kB
    assert pages("kept") < 1000
