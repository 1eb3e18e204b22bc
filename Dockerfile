# SPDX-License-Identifier: Apache-2.0
#
# The four images, a target each: proxy-client, proxy-exit, webhook and init-redirect.
# `make images` builds all of them for both platforms, without any registry. Docker, or
# another program with BuildKit, builds a single one:
#
#	docker build --target proxy-client --build-arg VERSION=0.1.0 --tag shoot-proxy/proxy-client:0.1.0 .
#
# What is compiled or unpacked here runs on the machine that builds: Go
# cross-compiles, and Debian's packages of the other architecture are unpacked
# and not installed. Nothing is emulated.

ARG GO_IMAGE=golang:1.26-bookworm
ARG BASE_IMAGE=debian:bookworm-slim

FROM --platform=$BUILDPLATFORM ${GO_IMAGE} AS build
WORKDIR /src
COPY go.mod go.sum ./
COPY cmd cmd
COPY internal internal
COPY pkg pkg
COPY webhook webhook
ARG TARGETARCH
ARG VERSION=unknown
# All programs, or the one that the target needs. The webhook is in its own module.
ARG PROGRAM=*
# The flags are those of `make build`, so that the same version of Go makes the same bytes.
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    for folder in $(ls -d cmd/$PROGRAM webhook/cmd/$PROGRAM 2>/dev/null); do \
        CGO_ENABLED=0 GOOS=linux GOARCH=$TARGETARCH go build -C $folder -trimpath -buildvcs=false -gcflags=all=-dwarf=false \
            -tags grpcnotrace -ldflags "-s -w -X main.version=$VERSION" -o /out/ || exit; \
    done

# The files of Debian in init-redirect: see images/README.md.
FROM --platform=$BUILDPLATFORM ${BASE_IMAGE} AS rootfs
COPY images/packages images/packages.lock images/rootfs /images/
ARG TARGETARCH
# Mirrors that keep replaced versions, such as a snapshot of Debian's.
ARG DEBIAN_SNAPSHOT=
RUN --mount=type=cache,id=debian-packages,target=/var/cache/debian-packages \
    /images/rootfs "$TARGETARCH" /rootfs /var/cache/debian-packages

FROM --platform=$BUILDPLATFORM ${BASE_IMAGE} AS new-lock
COPY images/packages images/lock /images/
RUN ["/images/lock", "/images/packages", "/packages.lock"]

# `docker build --target lock --output images .` rewrites images/packages.lock.
FROM scratch AS lock
COPY --from=new-lock /packages.lock /packages.lock

FROM scratch AS proxy-client
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title=proxy-client \
      org.opencontainers.image.description="The sidecar that carries a pod's connections into a shoot, through a konnectivity proxy-server" \
      org.opencontainers.image.source=https://github.com/shoot-proxy/proxy-client \
      org.opencontainers.image.licenses=Apache-2.0 \
      org.opencontainers.image.version=$VERSION \
      org.opencontainers.image.revision=$REVISION
COPY --from=build /out/proxy-client /proxy-client
# The uid that the rules of init-redirect exempt.
USER 14001:14001
ENTRYPOINT ["/proxy-client"]

FROM scratch AS proxy-exit
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title=proxy-exit \
      org.opencontainers.image.description="The exit in a shoot, which reaches targets for proxy-client over HTTP/2 CONNECT" \
      org.opencontainers.image.source=https://github.com/shoot-proxy/proxy-client \
      org.opencontainers.image.licenses=Apache-2.0 \
      org.opencontainers.image.version=$VERSION \
      org.opencontainers.image.revision=$REVISION
COPY --from=build /out/proxy-exit /proxy-exit
USER 65532:65532
ENTRYPOINT ["/proxy-exit"]

FROM scratch AS webhook
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title=webhook \
      org.opencontainers.image.description="The webhook that injects init-redirect and proxy-client into pods" \
      org.opencontainers.image.source=https://github.com/shoot-proxy/proxy-client \
      org.opencontainers.image.licenses=Apache-2.0 \
      org.opencontainers.image.version=$VERSION \
      org.opencontainers.image.revision=$REVISION
COPY --from=build /out/webhook /webhook
USER 65532:65532
ENTRYPOINT ["/webhook"]

FROM scratch AS init-redirect
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title=init-redirect \
      org.opencontainers.image.description="The init container that redirects a pod's connections to a shoot to proxy-client" \
      org.opencontainers.image.source=https://github.com/shoot-proxy/proxy-client \
      org.opencontainers.image.licenses=Apache-2.0 \
      org.opencontainers.image.version=$VERSION \
      org.opencontainers.image.revision=$REVISION
COPY --from=rootfs /rootfs /
COPY --from=build /out/init-redirect /usr/local/bin/init-redirect
ENV PATH=/usr/local/bin:/usr/sbin
# An added capability such as NET_ADMIN is effective for root only.
USER 0:0
ENTRYPOINT ["init-redirect"]
