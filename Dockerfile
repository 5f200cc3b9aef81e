# docker build --tag inferometer .                          TensorFlow for the processor
# docker build --tag inferometer:gpu --build-arg EXTRA=gpu . TensorFlow with CUDA; the host brings the driver

FROM python:3.12.15-slim-bookworm@sha256:54c85f3c47607a77f32adec749d3c81d1348bf25833671f512b26a9b6d778cb3 AS build
ARG EXTRA=cpu
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ONLY_BINARY=:all: \
    PIP_PYTHON=/opt/inferometer/bin/python
WORKDIR /build
RUN python -m venv --without-pip /opt/inferometer
COPY requirements/ requirements/
# pip compiles what it installs to byte code.
RUN pip install --require-hashes --requirement "requirements/serve-${EXTRA}.txt"
COPY pyproject.toml README.md LICENSE ./
COPY exporter/ exporter/
COPY serving/ serving/
# The build tool, pinned too, stays out of what is installed.
RUN python -m venv --without-pip /opt/build \
    && PIP_PYTHON=/opt/build/bin/python pip install --require-hashes --requirement requirements/build.txt \
    && PIP_PYTHON=/opt/build/bin/python pip wheel --no-deps --no-build-isolation --wheel-dir dist . \
    && pip install --no-deps dist/*.whl

# docker build --target test: the image of EXTRA=cpu with the test tools; the tests are mounted
FROM build AS test
RUN pip install --require-hashes --requirement requirements/dev.txt
ENV PATH=/opt/inferometer/bin:$PATH
WORKDIR /project
USER 10001:10001
CMD ["python", "-m", "pytest", "tests/unit"]

# docker build --target demo: the demo's training, traffic and alerts, for deploy/compose.yml
FROM test AS demo
COPY demo/ demo/
USER 0:0
# The volume that is mounted there gets its owner when it is made.
RUN mkdir .demo && chown 10001:10001 .demo
USER 10001:10001
ENTRYPOINT ["python"]
CMD ["-m", "demo.train"]

FROM python:3.12.15-slim-bookworm@sha256:54c85f3c47607a77f32adec749d3c81d1348bf25833671f512b26a9b6d778cb3
# Within a container every address is the container's own; what is published decides who reaches it.
ENV INFEROMETER_HOST=0.0.0.0 \
    INFEROMETER_METRICS_HOST=0.0.0.0 \
    PATH=/opt/inferometer/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
COPY --from=build /opt/inferometer /opt/inferometer
# The base image comes without, and whoever runs this one may not write it.
RUN python -m compileall -q /usr/local/lib/python3.12
WORKDIR /models
USER 10001:10001
EXPOSE 8501 8502
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s \
    CMD ["python", "-c", "import http.client as h, os, sys; c = h.HTTPConnection('127.0.0.1', int(os.environ.get('INFEROMETER_PORT') or 8501), timeout=3); c.request('GET', '/readyz'); sys.exit(c.getresponse().status != 200)"]
ENTRYPOINT ["inferometer"]
CMD ["serve"]
