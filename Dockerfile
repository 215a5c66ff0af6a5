# syntax=docker/dockerfile:1

# Two images: the default one indexes, searches and serves with the shipped models; `--target gpu` has torch too, for
# every other LUSIFER checkpoint, on a GPU or a CPU.

# The libraries, in a virtual environment of their own: a layer that is kept while only our own code changes.
FROM python:3.12-slim-bookworm AS libraries
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
RUN python -m venv /venv
COPY pyproject.toml constraints.txt ./
RUN /venv/bin/python - <<'PY'
import tomllib
project = tomllib.load(open("pyproject.toml", "rb"))["project"]
open("base.txt", "w").write("\n".join(project["dependencies"]))
open("models.txt", "w").write("\n".join(project["optional-dependencies"]["models"]))
PY
RUN /venv/bin/pip install --constraint constraints.txt --requirement base.txt

# The same and torch. The usual index has torch with CUDA, several gigabytes; for a CPU build give the address of
# PyTorch's index of CPU wheels as --build-arg TORCH_INDEX=…
FROM libraries AS libraries-models
ARG TORCH_INDEX=""
RUN if [ -n "$TORCH_INDEX" ]; then /venv/bin/pip install --index-url "$TORCH_INDEX" --constraint constraints.txt torch; fi \
    && /venv/bin/pip install --constraint constraints.txt --requirement models.txt

FROM libraries AS package
COPY README.md LICENSE hatch_build.py lusifer_search.py ./
COPY common common
COPY lusifer lusifer
COPY store store
COPY indexer indexer
COPY search search
COPY app app
COPY templates templates
RUN /venv/bin/pip wheel --no-deps --wheel-dir /dist .

FROM libraries AS environment
COPY --from=package /dist /dist
RUN /venv/bin/pip install --no-deps /dist/*.whl

FROM libraries-models AS environment-models
COPY --from=package /dist /dist
RUN /venv/bin/pip install --no-deps /dist/*.whl

# What runs: an environment, nothing to build with, nobody's privileges.
FROM python:3.12-slim-bookworm AS runtime
RUN useradd --uid 10001 --create-home --home-dir /home/lusifer lusifer \
    && install --directory --owner lusifer --group lusifer --mode 700 /data
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

FROM runtime AS gpu
COPY --from=environment-models /venv /venv

FROM runtime AS default
COPY --from=environment /venv /venv
