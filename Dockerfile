# A small image with the compiled wheel and nothing to build with.
#
#   docker build -t kiroproxy .
#   docker run --rm -p 127.0.0.1:8080:8080 -v "$PWD/data:/data" kiroproxy
#
# /data holds config.json and credentials.json. It is a directory and not two files, because a
# refreshed token is written beside the old file and renamed over it; a mounted file cannot be
# replaced.

FROM node:22-slim AS page
WORKDIR /src/admin-ui
COPY admin-ui/package.json admin-ui/package-lock.json ./
RUN npm ci --no-audit --no-fund
COPY admin-ui ./
RUN npm run build

FROM python:3.12-slim AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
RUN python -m venv --without-pip /opt/kiroproxy
COPY pyproject.toml setup.py README.md LICENSE ./
COPY kiroproxy ./kiroproxy
COPY --from=page /src/kiroproxy/server/static ./kiroproxy/server/static
RUN pip --python /opt/kiroproxy/bin/python install --no-cache-dir .

FROM python:3.12-slim
# 1000 is the first user of most machines, so that a ./data made by hand can be written.
RUN useradd --uid 1000 --user-group --no-create-home --shell /usr/sbin/nologin kiroproxy \
    && install -d -o kiroproxy -g kiroproxy -m 0700 /data
COPY --from=build /opt/kiroproxy /opt/kiroproxy
# The container's own address and port: what is reachable is decided where they are published.
ENV PATH=/opt/kiroproxy/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    KIROPROXY_HOST=0.0.0.0 \
    KIROPROXY_PORT=8080
USER kiroproxy
WORKDIR /data
VOLUME /data
EXPOSE 8080
# http.client and not urllib: a proxy in the environment is not the way to this very container.
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s --retries=3 \
    CMD ["python", "-c", "import os, http.client as h; c = h.HTTPConnection('127.0.0.1', int(os.environ['KIROPROXY_PORT']), timeout=4); c.request('GET', '/health'); raise SystemExit(c.getresponse().status != 200)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["kiroproxy"]
