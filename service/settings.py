"""Settings of the service, read once from the environment (prefix `DSLM_`)."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

ROOT = Path(__file__).resolve().parent.parent
DEMO = ROOT / "deploy" / "demo"


class ServiceSettings(BaseSettings):
    """Where the service listens, what it serves and how far it may go."""

    model_config = SettingsConfigDict(env_prefix="DSLM_", frozen=True, env_ignore_empty=True)

    host: Annotated[str, Field(description="address to listen on")] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535, description="port to listen on")] = 8080
    base: Annotated[str, Field(description="base: a folder or a hub id")] = str(DEMO / "model")
    store: Annotated[Path, Field(description="folder of everything published")] = Path("store")
    domains: Annotated[Path, Field(description="folder with one folder per domain")] = (
        DEMO / "domains"
    )
    adapters: Annotated[Path, Field(description="folder of adapters to register at start")] = (
        DEMO / "adapters"
    )
    engines: Annotated[
        Path | None, Field(description="TOML file with further bases and external models")
    ] = None
    engine_urls: Annotated[
        str, Field(description="engines of the base run elsewhere; empty: a child is supervised")
    ] = ""
    engine_port: Annotated[int, Field(ge=0, le=65535, description="port of the child; 0: free")] = 0
    engine_arguments: Annotated[str, Field(description="more vLLM arguments, as in a shell")] = ""
    tool_parser: Annotated[str, Field(description="vLLM's parser of calls, `auto` or `none`")] = (
        "auto"
    )
    compact_json: Annotated[bool, Field(description="JSON answers without blanks")] = True
    engine_start_seconds: Annotated[
        float, Field(gt=0, description="how long the engine may take to start")
    ] = 900.0
    engine_read_seconds: Annotated[
        float, Field(gt=0, description="longest silence of the engine within one answer")
    ] = 120.0
    engine_stall_seconds: Annotated[
        float, Field(ge=0, description="answers under way and no token: restarted; 0: never")
    ] = 60.0
    engine_idle_seconds: Annotated[
        float, Field(ge=0, description="idle so long, it is asked for one token; 0: never")
    ] = 60.0
    engine_crashes: Annotated[
        int, Field(ge=1, description="crashes within ten minutes before giving up")
    ] = 5
    max_loras: Annotated[int, Field(ge=1, description="adapters in one engine batch")] = 4
    max_cpu_loras: Annotated[int, Field(ge=1, description="adapters registered at once")] = 16
    max_lora_rank: Annotated[int, Field(ge=1, le=512, description="largest adapter rank")] = 16
    probe_adapters: Annotated[
        bool, Field(description="ask an adapter and its base before it answers")
    ] = True
    max_model_len: Annotated[int, Field(ge=0, description="context in tokens; 0: the base's")] = 0
    gpu_memory: Annotated[
        float, Field(ge=0, lt=1, description="share of a GPU for each engine; 0: as planned")
    ] = 0.0
    cpu_cache_gib: Annotated[
        int, Field(ge=0, description="KV cache on a CPU host, GiB; 0: as planned")
    ] = 0
    max_concurrent: Annotated[int, Field(ge=1, description="answers in flight before 429")] = 256
    max_concurrent_domain: Annotated[
        int, Field(ge=0, description="of one domain; 0: three quarters of all")
    ] = 0
    max_tokens_in_flight: Annotated[
        int, Field(ge=0, description="tokens of all answers in flight; 0: any number")
    ] = 0
    max_queued: Annotated[int, Field(ge=0, description="waiting requests of a domain")] = 64
    queue_seconds: Annotated[float, Field(gt=0, description="longest wait for a place")] = 30.0
    shares: Annotated[str, Field(description="weights of domains, `legal=3 support=1`")] = ""
    keys: Annotated[
        Path | None, Field(description="file of the API keys; unset: keys.json in the store")
    ] = None
    allow_open: Annotated[
        bool, Field(description="serve other addresses than loopback without any API key")
    ] = False
    allowed_hosts: Annotated[
        str, Field(description="names by which the service may be called, `*` for any")
    ] = ""
    open_metrics: Annotated[bool, Field(description="let anyone read /metrics")] = True
    cors_origins: Annotated[str, Field(description="origins of web pages that may call")] = ""
    log_format: Annotated[
        Literal["auto", "json", "text"], Field(description="auto: text at a terminal, else json")
    ] = "auto"
    log_requests: Annotated[bool, Field(description="a line for every answer")] = False
    answer_notes_mb: Annotated[
        int, Field(ge=0, description="which release gave which answer, per domain, MiB; 0: not")
    ] = 16
    log_texts: Annotated[
        bool, Field(description="also questions, and what unexpected errors say")
    ] = False
    otlp_endpoint: Annotated[
        str | None, Field(description="where traces are sent (OTLP over HTTP); unset: none")
    ] = None
    trace_share: Annotated[
        float, Field(ge=0, le=1, description="of the requests that nobody traces yet")
    ] = 1.0
    drain_seconds: Annotated[
        float, Field(ge=0, description="how long running answers may go on at a stop")
    ] = 30.0
    max_upload_mb: Annotated[int, Field(ge=1, description="largest uploaded file, MiB")] = 64
    max_upload_request_mb: Annotated[
        int, Field(ge=1, description="largest request with files, MiB")
    ] = 1024
    max_upload_files: Annotated[int, Field(ge=1, description="files in one request")] = 1000
    upload_seconds: Annotated[float, Field(gt=0, description="how long one upload may take")] = (
        3600.0
    )
    max_jobs: Annotated[int, Field(ge=1, description="indexing jobs that run at once")] = 1
