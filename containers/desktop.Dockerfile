# Engines on an NVIDIA GPU of a desktop or a server (x86-64), by TensorRT with edgefsa's plugins:
#   docker build -f containers/desktop.Dockerfile -t edgefsa-desktop .
# The engine is built in here too, from an ONNX file: `docker run --gpus all ... edgefsa-desktop build m.onnx`.
# CUDA 13 needs the driver 580 or later. TENSORRT is a version of NVIDIA's packages for this Ubuntu and this CUDA.
ARG CUDA=13.0.1

FROM nvidia/cuda:${CUDA}-devel-ubuntu24.04 AS build
ARG TENSORRT=10.13.3.9-1+cuda13.0
# hadolint ignore=DL3008
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        cmake python3-venv libnvinfer-headers-dev=${TENSORRT} \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY pyproject.toml setup.py README.md LICENSE constraints.txt ./
COPY calibration calibration
COPY plugins plugins
COPY edgefsa edgefsa
# Turing to Blackwell; one of them alone is built in a fraction of the time: --build-arg CUDA_ARCHITECTURES=89
ARG CUDA_ARCHITECTURES="75;80;86;89;90;120"
# The system's packages are seen from the environment: TensorRT's Python module is one of them in the next stage.
RUN python3 -m venv --system-site-packages /opt/edgefsa \
    && CUDAARCHS="${CUDA_ARCHITECTURES}" EDGEFSA_PLUGINS=1 /opt/edgefsa/bin/pip install --no-cache-dir --no-compile \
        -c constraints.txt ".[onnx,serve]" "cuda-bindings>=13,<14" "nvidia-ml-py>=12"

FROM nvidia/cuda:${CUDA}-base-ubuntu24.04
ARG TENSORRT=10.13.3.9-1+cuda13.0
# hadolint ignore=DL3008
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        python3 libnvinfer10=${TENSORRT} libnvinfer-plugin10=${TENSORRT} libnvonnxparsers10=${TENSORRT} \
        python3-libnvinfer=${TENSORRT} \
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
