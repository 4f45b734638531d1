# The service as an image. `docker build --build-arg PROFILE=cpu .` makes the one for CPU hosts.
# Run the GPU one with the NVIDIA container toolkit: docker run --gpus all -p 8080:8080 ...
FROM python:3.11-slim

# vLLM's kernels are finished at run time, by Triton and its C compiler.
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc g++ make \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home dslm \
    && mkdir /store && chown dslm /store

WORKDIR /dslm
COPY . .
ARG PROFILE=gpu
RUN make setup PROFILE=${PROFILE} && rm -rf /root/.cache

USER dslm
ENV DSLM_HOST=0.0.0.0 \
    DSLM_STORE=/store
VOLUME /store
EXPOSE 8080
HEALTHCHECK --start-period=10m CMD [".venv/bin/python", "-c", \
    "from urllib.request import urlopen; urlopen('http://127.0.0.1:8080/health')"]
CMD [".venv/bin/dslm", "serve"]
