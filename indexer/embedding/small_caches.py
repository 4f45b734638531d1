"""What the environment says before torch is imported, so that a process that embeds stays small.

torch and oneDNN each keep what they compiled for 1,024 shapes of a batch; a job meets thousands.
"""

from typing import Final

SMALL_CACHES: Final = {"LRU_CACHE_CAPACITY": "32", "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "128"}
