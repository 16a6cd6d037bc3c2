# The studio in a container. docs/studio.md tells how to build it and to come in.
FROM python:3.13-slim

# With TORCH_INDEX, the address of PyTorch's builds for processors alone, the image is some
# gigabytes smaller: docker build --build-arg TORCH_INDEX=ADDRESS
ARG TORCH_INDEX
RUN pip install --no-cache-dir ${TORCH_INDEX:+--index-url "${TORCH_INDEX}"} "torch>=2.6"

WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY src src
# hadolint ignore=DL3013
RUN pip install --no-cache-dir ".[studio,metrics,video]"

# What is made lies in one volume, which belongs to a user who may do nothing else.
RUN useradd --create-home --uid 1000 artist && install --directory --owner artist /studio
USER 1000
WORKDIR /studio
VOLUME /studio
ENV PYTHONUNBUFFERED=1

EXPOSE 8321
# 401 is a server that is up and wants the token.
HEALTHCHECK --start-period=60s --timeout=10s CMD ["python", "-c", "import http.client as h; c = h.HTTPConnection('127.0.0.1', 8321, timeout=5); c.request('GET', '/'); assert c.getresponse().status in (200, 401)"]
ENTRYPOINT ["singleimage"]
CMD ["studio", "--output", ".", "--host", "0.0.0.0", "--port", "8321", "--no-browser"]
