# Engines on a Jetson with JetPack 7 (Ubuntu 24.04, CUDA 13, TensorRT 10.13), built on the board itself:
#   docker build -f containers/jetpack7.Dockerfile -t edgefsa-jetpack7 .
# JetPack 7 takes the same packages as servers with Arm CPUs, so NVIDIA's plain CUDA images are its base. TENSORRT is a
# version of NVIDIA's packages for them; an engine runs with the TensorRT that built it, so both are done in here.
ARG CUDA=13.0.1

FROM nvidia/cuda:${CUDA}-devel-ubuntu24.04 AS build
ARG TENSORRT=10.13.3.9-1+cuda13.0
# hadolint ignore=DL3008
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        cmake python3-numpy python3-venv libnvinfer-headers-dev=${TENSORRT} \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY pyproject.toml setup.py README.md LICENSE ./
COPY calibration calibration
COPY plugins plugins
COPY edgefsa edgefsa
# Thor; Orin is 87.
ARG CUDA_ARCHITECTURES=110
# NumPy, OpenCV and TensorRT are the system's, as on the board: [jetson] brings nothing over them.
RUN python3 -m venv --system-site-packages /opt/edgefsa \
    && CUDAARCHS="${CUDA_ARCHITECTURES}" EDGEFSA_PLUGINS=1 /opt/edgefsa/bin/pip install --no-cache-dir --no-compile \
        ".[jetson,serve]"

FROM nvidia/cuda:${CUDA}-base-ubuntu24.04
ARG TENSORRT=10.13.3.9-1+cuda13.0
# hadolint ignore=DL3008
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        python3 python3-numpy python3-opencv gstreamer1.0-plugins-good gstreamer1.0-plugins-bad \
        libnvinfer10=${TENSORRT} libnvinfer-plugin10=${TENSORRT} libnvonnxparsers10=${TENSORRT} \
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
