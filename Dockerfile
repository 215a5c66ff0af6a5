# syntax=docker/dockerfile:1

# The package and its libraries, in a virtual environment of their own.
FROM python:3.12-slim-bookworm AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
RUN python -m venv /venv
# The libraries first: this layer is kept while only our own code changes. The usual index has torch with CUDA,
# several gigabytes; give the address of PyTorch's index of CPU wheels as --build-arg TORCH_INDEX=… to do without.
ARG TORCH_INDEX=""
COPY pyproject.toml constraints.txt ./
RUN /venv/bin/python - <<'PY' > requirements.txt
import tomllib
project = tomllib.load(open("pyproject.toml", "rb"))["project"]
extras = project["optional-dependencies"]
print("\n".join(project["dependencies"] + extras["office"] + extras["pdf"]))
PY
RUN /venv/bin/pip install ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} --constraint constraints.txt torch \
    && /venv/bin/pip install --constraint constraints.txt --requirement requirements.txt
COPY README.md LICENSE ./
COPY lusifer lusifer
COPY store store
COPY indexer indexer
COPY app app
COPY templates templates
RUN /venv/bin/pip install --no-deps .

# What runs: the environment, nothing to build with, nobody's privileges.
FROM python:3.12-slim-bookworm
RUN useradd --uid 10001 --create-home --home-dir /home/lusifer lusifer \
    && install --directory --owner lusifer --group lusifer --mode 700 /data
COPY --from=build /venv /venv
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 LUSIFER_DATA=/data
USER lusifer
WORKDIR /home/lusifer
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=6 \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/healthz', timeout=2)"]
ENTRYPOINT ["lusifer"]
# Needs LUSIFER_API_KEY: others than loopback are not served without one.
CMD ["serve", "--host", "0.0.0.0", "--port", "8000", "--log-format", "json"]
