/** The image, and what it does without Kafka: one container with the embedded log on its volume. */
import { chmodSync, existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync, gzipSync } from 'node:zlib';
import { beforeAll, describe, expect, it } from 'vitest';
import { packagePath } from '../src/base/package-root.ts';
import { freePort } from '../src/local-kafka/ports.ts';
import { jsonLines, logLines } from './support/cli.ts';
import { Container, runContainer } from './support/container.ts';
import { FINAL, imageEnvironment, sharedImage, STAGES, textOf } from './support/image.ts';
import { tempDir } from './support/temp-dir.ts';

const HEAD_ROWS = 2_000;
const folder = tempDir();
let image: string;

beforeAll(async () => {
  // The image's user is another than the test's.
  chmodSync(folder, 0o755);
  image = await sharedImage();
}, 300_000);

describe('the Dockerfile', () => {
  it('has two stages on one exact version of Node, that of package.json', () => {
    const { devDependencies } = JSON.parse(readFileSync(packagePath('package.json'), 'utf8')) as {
      devDependencies: Record<string, string>;
    };
    const base = `node:${devDependencies['node']}-bookworm-slim`;
    expect(base).toMatch(/^node:\d+\.\d+\.\d+-/);
    expect(STAGES.map((stage) => stage.image)).toEqual([base, base]);
  });

  it('runs as a user that is not root, with the data folder on a volume that is its own', () => {
    const names = FINAL.steps.map(({ name }) => name);
    expect(textOf('USER')).toBe('node');
    expect(textOf('VOLUME')).toBe(imageEnvironment()['FRESHET_DATA_DIR']);
    // What is done to a folder after it became a volume is lost, and what a user does after USER is done as that user.
    expect(names.lastIndexOf('RUN')).toBeLessThan(names.indexOf('USER'));
    expect(names.indexOf('USER')).toBeLessThan(names.indexOf('VOLUME'));
  });
});

describe('the image', () => {
  const app = (...parts: string[]): string => join(image, 'app', ...parts);

  it('holds compiled sources, and no TypeScript of ours', () => {
    expect(existsSync(app('dist', 'src', 'cli', 'main.js'))).toBe(true);
    const folders = readdirSync(app()).filter((name) => name !== 'node_modules');
    expect(folders.sort()).toEqual(['bin', 'data', 'dist', 'models', 'package.json', 'topics']);
    const files = folders
      .filter((name) => name !== 'package.json')
      .flatMap((name) => readdirSync(app(name), { recursive: true, encoding: 'utf8' }));
    expect(files.filter((file) => /(?<!\.d)\.ts$/.test(file))).toEqual([]);
  });

  it('holds the production dependencies and no others', () => {
    const { packages } = JSON.parse(readFileSync(packagePath('package-lock.json'), 'utf8')) as {
      packages: Record<string, { dev?: boolean; optional?: boolean; devOptional?: boolean }>;
    };
    const installed = Object.entries(packages).filter(([path]) => path !== '');
    const [development, production] = [
      installed.filter(([, { dev }]) => dev),
      installed.filter(([, each]) => !each.dev),
    ];
    expect(development.map(([path]) => path)).toContain('node_modules/typescript');
    expect(development.filter(([path]) => existsSync(app(path)))).toEqual([]);
    const needed = production.filter(([, { optional, devOptional }]) => optional !== true && devOptional !== true);
    expect(needed.filter(([path]) => !existsSync(app(path)))).toEqual([]);
    const runtimes = readdirSync(app('node_modules', 'onnxruntime-node', 'bin'), { encoding: 'utf8' });
    expect(runtimes.flatMap((version) => readdirSync(app('node_modules/onnxruntime-node/bin', version)))).toEqual([
      'linux',
    ]);
  });

  it('loads, runs, closes at SIGTERM with exit 0, and goes on from there', async () => {
    const environment = { FRESHET_HTTP_PORT: String(await freePort()) };
    const container = { image, volume: join(folder, 'embedded'), environment };
    const rows = gunzipSync(readFileSync(packagePath('data', 'deskdrop', 'actions.csv.gz')))
      .toString()
      .split('\n');
    const file = join(folder, 'head.csv.gz');
    writeFileSync(file, gzipSync(rows.slice(0, HEAD_ROWS + 1).join('\n')));
    const loaded = await runContainer<object>({ ...container, args: ['load', file, '--format=deskdrop', '--json'] });
    expect(loaded).toMatchObject({ appended: HEAD_ROWS, rejected: {} });

    const live = new Container(container);
    await live.logged('RUNNING');
    expect(await live.health()).toBe(0);
    const stopped = await live.stop('SIGTERM');
    expect(stopped.exitCode).toBe(0);
    expect(await live.health()).toBe(1);
    expect(logLines(stopped).map(({ code }) => code)).toEqual(['HTTP_LISTENING', 'RUNNING', 'CLOSED']);
    const [first] = jsonLines<{ records: number }>(stopped.stdout);

    const rest = await runContainer<object>({ ...container, args: ['run', '--until-end'] });
    expect(rest).toMatchObject({ records: HEAD_ROWS - first!.records, total: { actionsRead: HEAD_ROWS } });
    const users = new Set(rows.slice(1, HEAD_ROWS + 1).map((row) => row.split(',')[3])).size;
    expect(await runContainer<object>({ ...container, args: ['inspect', '--hash', '--json'] })).toMatchObject({
      users,
    });
  });
});
