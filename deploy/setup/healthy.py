"""Exit code 0 while the service on this host is well: what the image asks for its health."""

import os
import sys
from urllib.error import URLError
from urllib.request import urlopen

SECONDS = 4.0


def main() -> int:
    """Ask by a local name: that is allowed whatever DSLM_ALLOWED_HOSTS says."""
    port = os.environ.get("DSLM_PORT") or "8080"
    try:
        with urlopen(f"http://127.0.0.1:{port}/health", timeout=SECONDS):
            return 0
    except (URLError, TimeoutError, ConnectionError) as error:
        print(f"error: the service on port {port} is not well: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
