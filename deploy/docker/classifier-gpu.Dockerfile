# The classifier on a GPU, by ONNX Runtime with CUDA, and TensorRT where the base has it; tried on no hardware.
# docker build --file deploy/docker/classifier-gpu.Dockerfile --tag canicor-classifier-gpu .
ARG BASE_IMAGE=python:3.11-slim-bookworm

FROM ${BASE_IMAGE} AS build
WORKDIR /source
# The same for every image, and so made once.
COPY deploy/docker/install-tools.sh deploy/docker/locks/build.txt ./
RUN sh install-tools.sh
COPY deploy/docker/install-packages.sh deploy/docker/locks/classifier-gpu.txt ./
RUN sh install-packages.sh classifier-gpu.txt
COPY deploy/docker/install-canicor.sh ./
COPY pyproject.toml README.md LICENSE ./
COPY canicor canicor
COPY services services
COPY training training
# Without the text-to-image model, which others use.
RUN rm -r canicor/shipped_pipelines && sh install-canicor.sh

FROM ${BASE_IMAGE}
ARG REVISION=unknown
LABEL org.opencontainers.image.title="canicor-classifier-gpu" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/canicor /opt/canicor
RUN mkdir /var/lib/canicor && chown 10001:10001 /var/lib/canicor
USER 10001:10001
ENV CANICOR_HOME=/var/lib/canicor \
    CANICOR_CLASSIFIER_LISTEN=0.0.0.0:8470 \
    CANICOR_CLASSIFIER_METRICS_LISTEN=0.0.0.0:9470 \
    CANICOR_CLASSIFIER_HEALTH_LISTEN=0.0.0.0:8480 \
    HOME=/var/lib/canicor \
    PATH=/opt/canicor/bin:${PATH} \
    PYTHONDONTWRITEBYTECODE=1
VOLUME /var/lib/canicor
EXPOSE 8470 9470 8480
HEALTHCHECK --interval=10s --timeout=5s --start-period=5m CMD ["python", "-m", "services.runtime.probe", "127.0.0.1:8480"]
ENTRYPOINT ["canicor"]
CMD ["serve", "classifier"]
