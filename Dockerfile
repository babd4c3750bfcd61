# The image of Pantala: supernode and dfdaemon alike, the word after the image's name says which. Nothing is run in the last stage,
# so that the same lines also build on a base without a shell.
FROM node:26-bookworm-slim AS build
WORKDIR /src
COPY package.json package-lock.json .npmrc ./
RUN npm ci
COPY . .
RUN npm run build && mkdir -p /data/dfdaemon /data/supernode

FROM node:26-bookworm-slim
COPY --from=build /src/dist /opt/pantala
# What is stored belongs to the user that the services run as.
COPY --from=build --chown=65532:65532 /data /var/lib/pantala
USER 65532:65532
VOLUME /var/lib/pantala
# Of the two services whichever runs here.
HEALTHCHECK --interval=5s --timeout=3s --start-period=20s --retries=3 CMD ["node", "-e", "for (const port of [65003, 8002]) require('http').get({ port, path: '/healthz', timeout: 2000 }, answer => process.exit(answer.statusCode === 200 ? 0 : 1)).on('error', () => {})\nprocess.exitCode = 1"]
# As the launcher, cli/pantala, has it, which says why.
ENV MALLOC_ARENA_MAX=1 MALLOC_MMAP_THRESHOLD_=262144 UV_THREADPOOL_SIZE=8
ENTRYPOINT ["node", "--disable-warning=ExperimentalWarning", "--max-semi-space-size=2", "--initial-heap-size=96", "--expose-gc", "/opt/pantala/pantala.mjs"]
CMD ["--help"]
