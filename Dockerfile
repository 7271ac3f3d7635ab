# movseg_jax in a container.
#   docker build -t movseg .                                   CPU
#   docker build -t movseg --build-arg EXTRA=cuda12 .          NVIDIA GPU, driver >= 525
#   docker run --rm -v "$PWD:/data" movseg segment /data/video.mp4 --out /data/results
# With a GPU add: --gpus all
FROM python:3.12-slim
ARG EXTRA=""
WORKDIR /src
COPY . .
RUN pip install --no-cache-dir ".${EXTRA:+[$EXTRA]}" \
    && useradd --create-home movseg
USER movseg
WORKDIR /data
ENTRYPOINT ["movseg"]
CMD ["--help"]
