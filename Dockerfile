# The service in a container. Not built where this was written: there is no Docker there; tests/packaging reads it.
#
#   docker build --tag apvit .
#   docker run --read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges \
#     --publish 127.0.0.1:8000:8000 --env APVIT_API_KEYS apvit
#
# What follows the image's name are options of `apvit serve`. Nothing is written and nothing is fetched at run time.

FROM python:3.13-slim AS build
WORKDIR /source
COPY pyproject.toml README.md LICENSE constraints.txt ./
COPY src src
RUN python -m venv /opt/apvit \
    && /opt/apvit/bin/pip install --no-cache-dir --constraint constraints.txt \
       --extra-index-url https://download.pytorch.org/whl/cpu '.[serve]'

FROM python:3.13-slim
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin apvit
COPY --from=build /opt/apvit /opt/apvit
ENV PATH=/opt/apvit/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    HF_HUB_OFFLINE=1 \
    HOME=/tmp
USER 10001
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
ENTRYPOINT ["apvit", "serve", "--host", "0.0.0.0", "--port", "8000"]
