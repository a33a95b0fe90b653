# Freshet in one container: compiled sources, production dependencies, shipped models and data. No engine is needed to
# try the steps: test/container.test.ts runs each RUN line of both stages as a plain command.

FROM node:24.21.0-bookworm-slim AS build
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
RUN npm ci --no-audit --no-fund
COPY . .
RUN npm run build
RUN npm prune --omit=dev --no-audit --no-fund
# onnxruntime-node brings 220 MB for systems that this image is not.
RUN rm -rf node_modules/onnxruntime-node/bin/*/darwin node_modules/onnxruntime-node/bin/*/win32

FROM node:24.21.0-bookworm-slim
ENV NODE_ENV=production FRESHET_DATA_DIR=/var/lib/freshet FRESHET_HTTP_PORT=8080
# Resident memory: two arenas of malloc instead of eight a core, a young generation of 12 MB (docs/performance.md).
ENV MALLOC_ARENA_MAX=2 NODE_OPTIONS=--max-semi-space-size=4
WORKDIR /app
COPY --from=build /app/package.json ./
COPY --from=build /app/node_modules ./node_modules
COPY --from=build /app/bin ./bin
COPY --from=build /app/dist ./dist
COPY --from=build /app/topics/schemas ./topics/schemas
COPY --from=build /app/models ./models
COPY --from=build /app/data ./data
RUN mkdir -p /var/lib/freshet && chown node:node /var/lib/freshet
USER node
VOLUME /var/lib/freshet
# Whether a restart would help; what waits for the broker or the registry is live. Not for commands other than `run`.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s CMD ["node", "-e", "fetch('http://127.0.0.1:' + process.env.FRESHET_HTTP_PORT + '/live').then(({ ok }) => process.exit(ok ? 0 : 1), () => process.exit(1))"]
ENTRYPOINT ["node", "/app/bin/freshet.js"]
CMD ["run"]
