/** The configuration: every key with its type, default, limits and meaning, and what must hold between keys. */
import { z } from 'zod';
import { checkKafka, kafkaKeys } from './config-kafka.ts';
import { LOG_LEVELS } from './logger.ts';

const MAX_HALF_LIVES = 8;
const MAX_SEQUENCES = 16;
const MAX_ACTION_TYPES = 256;

const name = z.string().regex(/^[a-z][a-z0-9_-]{0,63}$/, 'must match /^[a-z][a-z0-9_-]{0,63}$/');
const path = z.string().min(1);
const integer = (least: number, most: number) => z.int().min(least).max(most);
const durationMs = integer(1, 100 * 365 * 86_400_000);

const UNDO_DEFAULT: Readonly<Record<string, string>> = {
  unlike: 'like',
  unbookmark: 'bookmark',
  unfollow: 'follow',
};

const sequence = z.strictObject({
  name: name.meta({ description: 'Name of the sequence.' }),
  actionTypes: z
    .union([z.literal('all'), z.array(name).min(1).max(MAX_ACTION_TYPES)])
    .default('all')
    .meta({ description: 'The action types it takes.' }),
  windowSize: integer(1, 10_000).default(100).meta({ description: 'K: newest actions that readers are shown.' }),
  sealSize: integer(1, 10_000)
    .default(32)
    .meta({ description: 'C: actions sealed together once the window holds K + C.' }),
  maxAgeMs: durationMs
    .nullable()
    .default(null)
    .meta({ description: 'Actions older than this before the newest are hidden from readers; null: none are.' }),
});

export const keys = z.strictObject({
  dataDir: path.default('.freshet').meta({
    description: 'Folder of the embedded log, the state stores and the schema ids. Relative to the working folder.',
  }),
  appId: z
    .string()
    .regex(/^[A-Za-z0-9._-]{1,100}$/, 'must match /^[A-Za-z0-9._-]{1,100}$/')
    .default('freshet')
    .meta({ description: 'Names the application: committed offsets and state belong to it.' }),
  ...kafkaKeys,
  partitions: integer(1, 1024).default(8).meta({
    description: 'Partitions of every topic placed by user. Pinned once the topics exist.',
  }),
  actionTypes: z
    .array(name)
    .min(1)
    .max(MAX_ACTION_TYPES)
    .default(['view', 'like', 'bookmark', 'comment', 'follow', 'unlike', 'unbookmark', 'unfollow'])
    .meta({ description: 'Action types that are taken; others are rejected. Adding one is compatible.' }),
  undo: z.record(name, name).optional().meta({
    description: 'Which action type undoes which. By default the pairs shown, where both types are configured.',
    default: UNDO_DEFAULT,
  }),
  sequences: z
    .array(sequence)
    .min(1)
    .max(MAX_SEQUENCES)
    .default([{ name: 'engagement', actionTypes: 'all', windowSize: 100, sealSize: 32, maxAgeMs: null }])
    .meta({ description: 'The sequences kept for each user.' }),
  scoredSequence: name.default('engagement').meta({ description: 'The sequence that the intent model folds.' }),
  counterHalfLivesMs: z
    .array(durationMs)
    .min(1)
    .max(MAX_HALF_LIVES)
    .default([86_400_000, 2_592_000_000])
    .meta({ description: 'Half-lives of the decayed counters: one counter each and action type.' }),
  sessionGapMs: durationMs.default(1_800_000).meta({
    description: 'A session ends where two neighbouring actions are further apart than this.',
  }),
  maxFutureMs: integer(0, 86_400_000).default(300_000).meta({
    description: 'Actions whose event time is further than this after their arrival are rejected.',
  }),
  maxIdBytes: integer(1, 1024).default(256).meta({
    description: 'Longest user or item id, bytes of UTF-8; records with longer ones are rejected.',
  }),
  maxSurfaceBytes: integer(1, 1024).default(64).meta({
    description: 'Longest surface, bytes of UTF-8; records with longer ones are rejected.',
  }),
  commit: z
    .strictObject({
      intervalMs: integer(1, 600_000)
        .default(1000)
        .meta({ description: 'A commit closes at the latest after this time.' }),
      maxRecords: integer(1, 1_000_000).default(20_000).meta({
        description: 'A commit closes after this many input records.',
      }),
      maxOutputBytes: integer(65_536, 1_073_741_824).default(16_777_216).meta({
        description: 'A commit closes after this much output, bytes.',
      }),
    })
    .prefault({}),
  emit: z.enum(['commit', 'action']).default('commit').meta({
    description: 'Whether features are written once a changed user and commit, or once an action.',
  }),
  workers: integer(1, 64).default(1).meta({
    description: 'Threads of this process that share its partitions. The embedded log serves one.',
  }),
  standby: z.boolean().default(false).meta({
    description: 'Whether a worker keeps the stores of partitions near that another one serves. Kafka only.',
  }),
  cacheUsers: integer(1, 10_000_000).default(2_000).meta({
    description: 'Decoded users kept in memory, least recently used first out. One number for the process.',
  }),
  model: path.default('models/intent').meta({
    description:
      'Folder of the intent model and its card. The default is the shipped one; others are relative to the working folder.',
  }),
  http: z
    .strictObject({
      port: integer(0, 65_535).nullable().default(null).meta({
        description: 'Port of health and metrics while `run` runs; 0: any free one; null: none.',
      }),
      host: z.string().min(1).default('127.0.0.1').meta({
        description: 'Address that health and metrics are served on; by default this machine only.',
      }),
    })
    .prefault({}),
  log: z
    .strictObject({
      level: z.enum(LOG_LEVELS).default('info').meta({ description: 'Least severe log lines that are written.' }),
    })
    .prefault({}),
});

/** The keys, the default of `undo` filled in, and the checks between keys. */
export const configuration = keys
  .transform((values) => ({ ...values, undo: values.undo ?? undoAmong(values.actionTypes) }))
  .superRefine((values, context) => {
    const problem = (path: (string | number)[], message: string): void => {
      context.addIssue({ code: 'custom', path, message });
    };
    const types = new Set(values.actionTypes);
    if (types.size < values.actionTypes.length) problem(['actionTypes'], 'names a type twice');

    for (const [undoing, undone] of Object.entries(values.undo)) {
      for (const type of [undoing, undone]) {
        if (!types.has(type)) problem(['undo'], `"${type}" is not one of actionTypes`);
      }
      if (Object.hasOwn(values.undo, undone))
        problem(['undo'], `"${undoing}" undoes "${undone}", which undoes something itself`);
    }

    const names = values.sequences.map((each) => each.name);
    if (new Set(names).size < names.length) problem(['sequences'], 'two sequences have the same name');
    if (!names.includes(values.scoredSequence)) {
      problem(['scoredSequence'], `"${values.scoredSequence}" is not the name of a sequence (${names.join(', ')})`);
    }
    const taken = new Set<string>();
    for (const [index, each] of values.sequences.entries()) {
      for (const type of each.actionTypes === 'all' ? values.actionTypes : each.actionTypes) {
        if (!types.has(type)) problem(['sequences', index, 'actionTypes'], `"${type}" is not one of actionTypes`);
        taken.add(type);
      }
    }
    for (const type of types) {
      if (!taken.has(type)) problem(['sequences'], `no sequence takes the action type "${type}"`);
    }
    if (new Set(values.counterHalfLivesMs).size < values.counterHalfLivesMs.length) {
      problem(['counterHalfLivesMs'], 'names a half-life twice');
    }
    checkKafka(values, problem);
    if (values.brokers.length === 0 && values.workers > 1) {
      problem(['workers'], 'must be 1 without brokers: the embedded log serves one worker');
    }
    if (values.brokers.length === 0 && values.standby) {
      problem(['standby'], 'does nothing without brokers: the embedded log serves one worker');
    }
  });

const undoAmong = (actionTypes: readonly string[]): Record<string, string> =>
  Object.fromEntries(Object.entries(UNDO_DEFAULT).filter((pair) => pair.every((type) => actionTypes.includes(type))));
