/**
 * What must hold of the task whatever the timing: where commits are cut, and whether the store is still there, changes
 * nothing in what is kept and what was emitted last; after an erase a user is new.
 */
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { FC_OPTIONS } from './support/seed.ts';
import { ERASE, inputs, Logs, nextPlace, NOBODY, outcome, run, user } from './support/lanes.ts';

const WHOLE = new Logs({ commitMaxRecords: 1_000 });
const CUT = [1, 2, 3, 5, 8, 13].map((commitMaxRecords) => new Logs({ commitMaxRecords }));
const DISTURBED = new Logs({ commitMaxRecords: 8 });

afterAll(async () => {
  for (const logs of [WHOLE, ...CUT, DISTURBED]) await logs.close();
});

describe('a feature task', () => {
  it('ends with the same features, states, history and counts wherever commits are cut', async () => {
    await fc.assert(
      fc.asyncProperty(inputs, fc.constantFrom(...CUT), async (records, cut) => {
        const place = nextPlace();
        const whole = await run(await WHOLE.lane(place, records));
        expect(await run(await cut.lane(place, records))).toEqual(whole);
      }),
      FC_OPTIONS,
    );
  });

  it('rebuilds a deleted store from the log, after any commit, and goes on as if nothing had happened', async () => {
    await fc.assert(
      fc.asyncProperty(inputs, fc.infiniteStream(fc.boolean()), async (records, deleteStore) => {
        const place = nextPlace();
        const undisturbed = await run(await WHOLE.lane(place, records));
        const lane = await DISTURBED.lane(place, records);
        const { stream, partition } = lane;
        for (let task = await stream.task(partition); ; task = await stream.task(partition)) {
          const { records: consumed } = await task.step();
          const result = consumed === 0 ? { counts: task.counts, outcome: await outcome(lane, task) } : undefined;
          await task.close();
          if (deleteStore.next().value) stream.deleteStore(partition);
          if (result === undefined) continue;
          expect(result).toEqual(undisturbed);
          break;
        }
      }),
      FC_OPTIONS,
    );
  });

  it('makes a new user of what follows an erase', async () => {
    await fc.assert(
      fc.asyncProperty(inputs, user, inputs, async (before, erased, after) => {
        const place = nextPlace();
        const replayed = await run(await WHOLE.lane(place, [...before, { user: erased, make: ERASE }, ...after]));
        // The same offsets, but nothing of the user before the erase.
        const unknown = before.map((each) => (each.user === erased ? NOBODY : each));
        const fresh = await run(await CUT[3]!.lane(place, [...unknown, NOBODY, ...after]));
        expect(replayed.outcome).toEqual(fresh.outcome);
      }),
      FC_OPTIONS,
    );
  });
});
