# One image for every process; the command says which. Without one it is `serve`: all in one process, data in a volume.
FROM python:3.11-slim-bookworm AS build
WORKDIR /source
RUN python -m venv /opt/chargesphere
# The lock without tests and their servers: what they bring (mongod is SSPL) is never shipped.
COPY deploy/requirements.lock ./
RUN /opt/chargesphere/bin/pip install --no-cache-dir --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY domain domain
COPY protocols protocols
COPY commands commands
COPY projections projections
COPY streams streams
COPY application application
COPY api api
COPY gateway gateway
COPY chargesphere chargesphere
COPY bench bench
RUN /opt/chargesphere/bin/pip install --no-cache-dir --no-deps --no-build-isolation .

FROM python:3.11-slim-bookworm
RUN useradd --system --uid 10001 --create-home --home-dir /var/lib/chargesphere chargesphere
COPY --from=build /opt/chargesphere /opt/chargesphere
ENV PATH=/opt/chargesphere/bin:$PATH PYTHONUNBUFFERED=1
USER chargesphere
WORKDIR /var/lib/chargesphere
VOLUME /var/lib/chargesphere
EXPOSE 8080 9000
ENTRYPOINT ["chargesphere"]
# In its folder `data`, where every command looks for it.
CMD ["serve", "--host", "0.0.0.0"]
