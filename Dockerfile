# The registry alone: one static binary, no shell, no root. The embedded store is left out, so a bucket must be given:
#
#   docker build --build-arg VERSION=$(git describe --tags --always) -t ballast .
#   docker run -p 8080:8080 -v ballast:/data -e BALLAST_PUBLIC_URL=… -e BALLAST_S3_BUCKET=… -e AWS_PROFILE=… ballast
FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=dev
RUN CGO_ENABLED=0 go build -trimpath -tags nos3dev -ldflags "-s -w -X main.version=$VERSION" -o /out/ballast ./cmd/registry \
 && mkdir -p /out/data /out/tmp && chmod 700 /out/data && chmod 1777 /out/tmp

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /out/ballast /ballast
COPY --from=build --chown=65532:65532 /out/data /data
COPY --from=build --chown=65532:65532 /out/tmp /tmp
USER 65532:65532
ENV BALLAST_DATA=/data BALLAST_LISTEN=:8080 BALLAST_METRICS_LISTEN=:9464 BALLAST_LOG_FORMAT=json
VOLUME /data
EXPOSE 8080 9464
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s CMD ["/ballast", "health", "http://127.0.0.1:8080"]
ENTRYPOINT ["/ballast"]
CMD ["serve"]
