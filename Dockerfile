# movseg_jax in a container. hadolint checks this file; no image is built in CI.
#   docker build -t movseg .                                   CPU
#   docker build -t movseg --build-arg EXTRA=cuda12 .          NVIDIA GPU, driver >= 525
#   docker run --rm -v "$PWD:/data" movseg segment /data/video.mp4 --out /data/results
# With a GPU add: --gpus all
FROM python:3.12-slim
ARG EXTRA=""
WORKDIR /src
COPY . .
# The package is this folder; pyproject.toml has the versions that it allows.
# hadolint ignore=DL3013
RUN pip install --no-cache-dir ".${EXTRA:+[$EXTRA]}" \
    && useradd --create-home --uid 1000 movseg
USER 1000
WORKDIR /data
ENTRYPOINT ["movseg"]
CMD ["--help"]
