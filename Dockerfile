# dslm as an image; deploy/docs/containers.md says how it is built, run and checked.
#   docker build --target cpu .      serves on hosts without a GPU
#   docker build --target train .    trains adapters, where TRAIN_ON says: gpu (as here) or cpu
#   docker build .                   serves on NVIDIA GPUs
# A tag can be moved. Who wants the same bytes for ever gives both images by their digests.
ARG PYTHON_IMAGE=python:3.11.14-slim-bookworm
ARG VLLM_IMAGE=vllm/vllm-openai:v0.32.0
ARG TRAIN_ON=gpu

FROM ${PYTHON_IMAGE} AS cpu-system
# A C compiler finishes vLLM's kernels at run time; tini hands signals on and buries orphans.
RUN apt-get update \
    && apt-get install -y --no-install-recommends \
        g++=4:12.2.0-3 gcc=4:12.2.0-3 libnuma1=2.0.16-1 tini=0.19.0-1* \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --user-group --home-dir /cache --shell /usr/sbin/nologin dslm \
    && install --directory --owner dslm --group dslm /store /cache

FROM cpu-system AS cpu-packages
WORKDIR /dslm
ENV PIP_NO_CACHE_DIR=1
COPY pyproject.toml README.md LICENSE ./
COPY deploy/__init__.py deploy/
COPY deploy/setup deploy/setup
# More of pyproject.toml's extras than serving needs, such as "ray" or "onnx openvino".
ARG EXTRAS=""
# The root is read-only later, so what Python compiles must be there before.
RUN python -m deploy.setup.setup --profile cpu \
    && .venv/bin/python -m deploy.setup.serving cpu ${EXTRAS} \
    && .venv/bin/python -m deploy.setup.compiling .venv/lib

FROM cpu-system AS cpu
WORKDIR /dslm
COPY --from=cpu-packages /dslm/.venv .venv
COPY . .
RUN .venv/bin/python -m deploy.setup.compiling \
        "$(.venv/bin/python -c 'import os; print(os.path.dirname(os.__file__))')" \
        adapters deploy dslm.py eval indexer service
ENV DSLM_HOST=0.0.0.0 \
    DSLM_STORE=/store \
    HOME=/cache \
    PATH=/dslm/.venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    TORCHINDUCTOR_CACHE_DIR=/cache/inductor \
    XDG_CACHE_HOME=/cache
VOLUME ["/store", "/cache", "/tmp"]
USER 10001:10001
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=2m \
    CMD ["python", "-I", "deploy/setup/healthy.py"]
ENTRYPOINT ["tini", "--"]
CMD ["dslm", "serve"]

FROM ${VLLM_IMAGE} AS gpu-system
RUN apt-get update \
    && apt-get install -y --no-install-recommends tini=0.19.0-1* \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --user-group --home-dir /cache --shell /usr/sbin/nologin dslm \
    && install --directory --owner dslm --group dslm /store /cache

FROM gpu-system AS gpu-packages
WORKDIR /dslm
ENV PIP_NO_CACHE_DIR=1
COPY pyproject.toml README.md LICENSE ./
COPY deploy/__init__.py deploy/
COPY deploy/setup deploy/setup
ARG EXTRAS=""
# vLLM, torch and CUDA are the image's own: the environment stands on its packages.
RUN python3 -m venv --system-site-packages .venv \
    && .venv/bin/python -m pip install -r deploy/setup/requirements-gpu.txt \
    && .venv/bin/python -m pip install --no-deps --no-build-isolation --editable . \
    && .venv/bin/python -m deploy.setup.serving gpu ${EXTRAS} \
    && .venv/bin/python -m deploy.setup.compiling .venv/lib

FROM gpu-system AS gpu
WORKDIR /dslm
COPY --from=gpu-packages /dslm/.venv .venv
COPY . .
RUN .venv/bin/python -m deploy.setup.compiling \
        adapters deploy dslm.py eval indexer service
ENV DSLM_HOST=0.0.0.0 \
    DSLM_STORE=/store \
    HOME=/cache \
    PATH=/dslm/.venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    TORCHINDUCTOR_CACHE_DIR=/cache/inductor \
    XDG_CACHE_HOME=/cache
VOLUME ["/store", "/cache", "/tmp"]
USER 10001:10001
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=5m \
    CMD ["python", "-I", "deploy/setup/healthy.py"]
ENTRYPOINT ["tini", "--"]
CMD ["dslm", "serve"]

FROM ${TRAIN_ON}-packages AS train-packages
RUN .venv/bin/python -m ensurepip \
    && .venv/bin/python -m deploy.setup.training

FROM ${TRAIN_ON} AS train
WORKDIR /dslm
COPY --from=train-packages /dslm/.venv/train .venv/train
HEALTHCHECK NONE
CMD ["dslm", "adapters", "train", "--help"]

FROM gpu AS serve
