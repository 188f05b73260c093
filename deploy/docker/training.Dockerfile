# `canicor train`, with PyTorch for CUDA, which runs on processors too.
# docker build --file deploy/docker/training.Dockerfile --tag canicor-training .
ARG BASE_IMAGE=python:3.11-slim-bookworm

FROM ${BASE_IMAGE} AS build
WORKDIR /source
# The same for every image, and so made once.
COPY deploy/docker/install-tools.sh deploy/docker/locks/build.txt ./
RUN sh install-tools.sh
COPY deploy/docker/install-packages.sh deploy/docker/locks/training.txt ./
RUN sh install-packages.sh training.txt
COPY deploy/docker/install-canicor.sh ./
COPY pyproject.toml README.md LICENSE ./
COPY canicor canicor
COPY services services
COPY training training
RUN sh install-canicor.sh

FROM ${BASE_IMAGE}
ARG REVISION=unknown
LABEL org.opencontainers.image.title="canicor-training" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/canicor /opt/canicor
RUN mkdir /var/lib/canicor && chown 10001:10001 /var/lib/canicor
USER 10001:10001
ENV CANICOR_HOME=/var/lib/canicor \
    HOME=/var/lib/canicor \
    PATH=/opt/canicor/bin:${PATH} \
    PYTHONDONTWRITEBYTECODE=1
VOLUME /var/lib/canicor
ENTRYPOINT ["canicor"]
CMD ["train", "--help"]
