"""What every test lives with: few threads, no hub, no settings of the person who runs them."""

import os

# Before torch is imported: on a small machine spinning threads cost more than they compute.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
for name in [name for name in os.environ if name.startswith("DSLM_")]:
    del os.environ[name]
