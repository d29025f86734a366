# Vigil in a container, for on-premises servers and labs, amd64 and arm64; see docs/deployments.md.
# The accelerators of a Jetson and CSI cameras want the service on the host (docs/provisioning.md).
FROM debian:bookworm-slim AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3 python3-venv ca-certificates \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/*
WORKDIR /src
COPY requirements.lock ./
RUN python3 -m venv /opt/vigil \
    && /opt/vigil/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY device_profiles device_profiles
COPY agent agent
RUN /opt/vigil/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps --no-build-isolation . \
    && /opt/vigil/bin/pip uninstall -q -y hatchling editables trove-classifiers pathspec pluggy setuptools pip \
    && find /opt/vigil \( -path '*/site-packages/*/tests' -o -path '*/onnxruntime/transformers' -o -path '*/onnxruntime/tools' \
        -o -path '*/ai_edge_litert/tools' \) -type d -prune -exec rm -rf {} +

# The broker of compose.yaml: Debian's mosquitto, with the fleet's own configuration.
FROM debian:bookworm-slim AS broker
RUN apt-get update \
    && apt-get install -y --no-install-recommends mosquitto \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* \
    && useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin vigil
USER vigil
CMD ["mosquitto", "-c", "/site/controller/broker/mosquitto.conf"]

FROM debian:bookworm-slim AS agent
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3 ca-certificates \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* \
    && useradd --uid 10001 --no-create-home --home-dir /var/lib/vigil --shell /usr/sbin/nologin vigil \
    && install -d -o vigil -g vigil -m 700 /var/lib/vigil /run/vigil /etc/vigil
COPY --from=build /opt/vigil /opt/vigil
COPY scripts/lab_site /usr/local/bin/lab_site
ENV PATH=/opt/vigil/bin:$PATH PYTHONDONTWRITEBYTECODE=1 VIGIL_CONFIG=/etc/vigil/vigil.yaml
USER vigil
WORKDIR /var/lib/vigil
VOLUME /var/lib/vigil
# Fails when the agent's status is older than it should be: a hang shows, too.
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s CMD vigil status --config "$VIGIL_CONFIG" || exit 1
ENTRYPOINT ["vigil"]
CMD ["run"]
