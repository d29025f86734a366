"""The heap: what was freed goes back, whatever small thing lies above it and whichever thread it was."""

import subprocess
import sys

# Frees 112 MiB below blocks that it keeps, in several threads, after a block so large that the C library would
# take the others into its heap; says how many MiB more than before it still holds.
WASTER = """
import os, threading
from agent.host.heap import keep_little
from agent.host.processes import rss_mb
keep_little()
before_mb, kept = rss_mb(os.getpid()), []
del_me = b"x" * (24 * 2**20)
del del_me

def waste():
    large = []
    for _ in range(7):
        large.append(b"x" * 2**22)
        kept.append(b"x" * 4096)

threads = [threading.Thread(target=waste) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(rss_mb(os.getpid()) - before_mb)
"""


def test_large_blocks_go_back_from_below_small_ones() -> None:
    command = [sys.executable, "-c", WASTER]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert float(run.stdout) < 20


# Page faults of one block of a frame's size after others like it were freed.
FRAMES = """
import resource
from agent.vision.process import set_up_process
set_up_process()
for _ in range(4):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    frame = b"x" * (3840 * 2160 * 3)
    del frame
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def test_the_largest_frame_is_not_fetched_from_the_system_each_time() -> None:
    command = [sys.executable, "-c", FRAMES]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(run.stdout) < 600  # of 6,075 pages
