/**
 * Verification of an application that was set back, or that began with another's users: what it has made itself is
 * compared, what another application or an earlier course has made is told and left.
 */
import { pino } from 'pino';
import { afterEach, expect, it } from 'vitest';
import { loadConfig } from '../src/base/config.ts';
import type { Log } from '../src/log/log.ts';
import { migrateToFolder } from '../src/migrate/migrate-folder.ts';
import { migrateInPlace } from '../src/migrate/migrate.ts';
import type { ResetOwner } from '../src/migrate/reset-plan.ts';
import { resetApplication } from '../src/migrate/reset.ts';
import { verify, type VerifyOptions } from '../src/replay/verify.ts';
import type { VerifyReport } from '../src/replay/verify-report.ts';
import { createSnapshot } from '../src/snapshot/create.ts';
import { Application } from './support/application.ts';
import { ACTIVATE_TEST_VERSION, publishTestVersion } from './support/item-version.ts';
import { newestBodies, openTarget, replayed } from './support/replayed.ts';
import { actionRecord } from './support/stream.ts';

const SILENT = pino({ level: 'silent' });
const USERS = 60;
const sequences = (windowSize: number): object[] => [{ name: 'engagement', windowSize, sealSize: 3 }];
const FLAGS = { partitions: 1, commitMaxRecords: 10, sequences: sequences(4) };
const onProgress = (): void => undefined;

const apps: Application[] = [];
afterEach(async () => {
  for (const app of apps.splice(0)) await app.close();
});

async function open(flags: Record<string, unknown> = {}): Promise<Application> {
  const app = await Application.open({ ...FLAGS, ...flags });
  apps.push(app);
  await publishTestVersion(app.stream);
  return app;
}

/** Actions of so many users in turn, the second half of them only seldom. */
const append = (app: Application, from: number, count: number, users = USERS): Promise<void> =>
  app.append(
    Array.from({ length: count }, (_, index) => {
      const at = from + index;
      const user = at % 7 === 0 ? at % users : at % (users / 2);
      return actionRecord({ userId: `user-${user}`, itemId: `i${1 + (at % 3)}`, eventTimeMs: 1_000 * at });
    }),
  );

const owner = (app: Application): ResetOwner => ({
  ...app.deployment,
  storeFolder: (kind, partition) => app.deployment.storeFolder(kind, partition),
  loadScorer: () => Promise.resolve(app.scorer),
});

function check({ deployment, scorer }: Application, given: Partial<VerifyOptions> = {}): Promise<VerifyReport> {
  const { log, codec, itemVersions, config } = deployment;
  const stretches = [{ partition: 0, from: 0, to: Infinity }];
  return verify({
    ...{ log, codec, scorer, itemVersions, config, logger: SILENT, stretches, stepRecords: 20 },
    ...given,
  });
}

const equal = (compared: number) => ({
  ...{ compared, equal: compared, differing: 0, missing: 0, extra: 0, causes: [], gaps: [] },
});

const featuresOf = async (app: Application): Promise<number> =>
  (await app.stream.read('sequence-features')).filter(({ value }) => value !== null).length;

async function consumed(): Promise<Application> {
  const app = await open();
  await app.append([ACTIVATE_TEST_VERSION['v1']!]);
  await append(app, 1, 399);
  await app.run();
  return app;
}

it.each([0, 150])('set back to %i, its present course is compared', async (offset) => {
  const app = await open();
  await app.append([ACTIVATE_TEST_VERSION['v1']!]);
  await append(app, 1, 149);
  await app.run();
  if (offset > 0) await createSnapshot(app.deployment, { onProgress });
  const before = await featuresOf(app);
  await append(app, 150, 250);
  await app.run();
  const superseded = (await featuresOf(app)) - (offset > 0 ? before : 0);
  const [moved] = await resetApplication(owner(app), { target: { offset }, onProgress });
  expect(moved).toMatchObject({ from: 400, to: offset });
  // Other cuts of commits: nothing depends on them.
  const again = new Application(app.stream, { ...app.config, commit: { ...app.config.commit, maxRecords: 16 } });
  await again.run();
  await append(again, 400, 100);
  await again.run();
  const all = await featuresOf(again);
  const report = await check(again);
  // Users as they were at the offset, of whom some have not acted since.
  const compared = report.compared;
  expect(report).toMatchObject(equal(compared));
  expect(compared).toBe(all - report.unverifiable);
  expect(report.unverifiable).toBeGreaterThanOrEqual(superseded);
  expect(compared).toBeGreaterThan(before);
  expect(report.unverifiableBy).toEqual([{ why: 'superseded', partition: 0, records: report.unverifiable }]);
});

it('set back, it is compared with all else: another scorer is told, once', async () => {
  const app = await consumed();
  await resetApplication(owner(app), { target: { offset: 0 }, onProgress });
  await app.run();
  const scorer = { ...app.scorer, hash: 'another' };
  const report = await check(app, { scorer });
  expect(report.causes).toMatchObject([{ cause: 'config', records: report.compared }]);
});

it('seeded on the same topics, it is compared from where it began', async () => {
  const old = await consumed();
  const { dataDir } = old.config;
  const flags = { ...FLAGS, appId: 'new', sequences: sequences(2) };
  const next = new Application(old.stream, loadConfig({ env: {}, flags: { ...flags, dataDir }, cwd: dataDir }));
  const [moved] = await migrateInPlace({ from: owner(old), to: owner(next), isDryRun: false, onProgress });
  const before = await featuresOf(old);
  await append(next, 400, 150, USERS + 20);
  await next.run();
  const report = await check(next);
  const written = (await featuresOf(next)) - before;
  expect(report).toMatchObject(equal(written));
  expect(report.unverifiableBy).toEqual([{ why: 'seeded', partition: 0, records: moved!.users }]);

  // From the middle too.
  const later = await check(next, { stretches: [{ partition: 0, from: 470, to: Infinity }] });
  expect(later).toMatchObject(equal(later.compared));
  expect(later).toMatchObject({ unverifiable: 0 });
  expect(later.compared).toBeGreaterThan(20);
  expect(later.compared).toBeLessThan(written);
});

it('seeded in a data folder of its own, it is compared from its beginning', async () => {
  const old = await consumed();
  const next = await open({ appId: 'new', sequences: sequences(6) });
  await migrateToFolder({ from: owner(old), to: owner(next), isDryRun: false, onProgress });
  const before = await featuresOf(next);
  expect(before).toBeGreaterThan(USERS / 2);
  await append(next, 400, 150, USERS + 20);
  await next.run();
  const report = await check(next);
  expect(report).toMatchObject(equal((await featuresOf(next)) - before));
  expect(report.unverifiableBy).toEqual([{ why: 'seeded', partition: 0, records: before }]);

  // Replayed elsewhere, it begins with the same users.
  const target = await openTarget(next.deployment);
  try {
    await replayed(next.deployment, target);
    const { codec } = next.stream;
    const newest = (log: Log): Promise<string[]> => newestBodies(log, codec, 'sequence-features', 1);
    expect(await newest(target)).toEqual(await newest(next.stream.log));
  } finally {
    await target.close();
  }
});
