"""The vLLM engine: its process, its HTTP client, and the adapters it holds."""
