# Engines on a Jetson with JetPack 6 (Orin; Ubuntu 22.04, CUDA 12.6, TensorRT 10.3), built on the board itself:
#   docker build -f containers/jetpack6.Dockerfile -t edgefsa-jetpack6 .
# It runs with NVIDIA's runtime, which brings the board's drivers and camera elements in: `docker run --runtime nvidia`.

FROM nvcr.io/nvidia/l4t-tensorrt:r10.3.0-devel AS build
# hadolint ignore=DL3008
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends cmake python3-numpy python3-venv \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY pyproject.toml setup.py README.md LICENSE ./
COPY calibration calibration
COPY plugins plugins
COPY edgefsa edgefsa
# NumPy, OpenCV and TensorRT are the system's, as on the board: [jetson] brings nothing over them.
RUN python3 -m venv --system-site-packages /opt/edgefsa \
    && CUDAARCHS=87 EDGEFSA_PLUGINS=1 /opt/edgefsa/bin/pip install --no-cache-dir --no-compile ".[jetson,serve]"

FROM nvcr.io/nvidia/l4t-tensorrt:r10.3.0-runtime
# hadolint ignore=DL3008
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        python3 python3-numpy python3-opencv python3-libnvinfer gstreamer1.0-plugins-good gstreamer1.0-plugins-bad \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --create-home --groups video edgefsa
COPY --from=build /opt/edgefsa /opt/edgefsa
ENV PATH=/opt/edgefsa/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001
WORKDIR /home/edgefsa
EXPOSE 8080
# As Ctrl-C: the frames at hand are finished, and recordings completed.
STOPSIGNAL SIGINT
HEALTHCHECK --interval=15s --timeout=5s --start-period=120s \
    CMD ["python3", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8080/healthz', timeout=4)"]
ENTRYPOINT ["edgefsa"]
CMD ["doctor"]
