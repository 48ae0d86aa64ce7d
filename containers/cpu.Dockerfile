# Engines on any CPU, by OpenVINO or ONNX Runtime, shown in a browser:
#   docker build -f containers/cpu.Dockerfile -t edgefsa-cpu .
# Building engines of trained weights needs torch and is done elsewhere; building from an ONNX file works in here.
ARG PYTHON=3.12

FROM python:${PYTHON}-slim-bookworm AS build
WORKDIR /src
COPY pyproject.toml setup.py README.md LICENSE constraints.txt ./
COPY calibration calibration
COPY plugins plugins
COPY edgefsa edgefsa
RUN python -m venv /opt/edgefsa \
    && EDGEFSA_PLUGINS=0 /opt/edgefsa/bin/pip install --no-cache-dir --no-compile -c constraints.txt ".[cpu,onnx,serve]"

FROM python:${PYTHON}-slim-bookworm
RUN useradd --system --uid 10001 --create-home --groups video edgefsa
COPY --from=build /opt/edgefsa /opt/edgefsa
ENV PATH=/opt/edgefsa/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001
WORKDIR /home/edgefsa
EXPOSE 8080
# As Ctrl-C: the frames at hand are finished, and recordings completed.
STOPSIGNAL SIGINT
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8080/healthz', timeout=4)"]
ENTRYPOINT ["edgefsa"]
CMD ["doctor"]
