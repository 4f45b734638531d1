"""Becomes `dslm index`, and is cancelled with the service even if that is killed."""

import runpy

from service.engines.launch import follow_parent

if __name__ == "__main__":
    follow_parent()
    runpy.run_module("dslm", run_name="__main__", alter_sys=True)
