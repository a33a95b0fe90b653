/**
 * Every metric there is, as data: Metrics makes them, docs/operations.md lists them, the dashboard and the alerts may
 * use no others. Names follow Prometheus: base units, `_total` for counters. Labels have few values, whatever the
 * load: a task's kind, a partition, a state, a code. Never a user, an item or a position.
 */

interface MetricDeclaration {
  readonly type: 'counter' | 'gauge' | 'histogram';
  readonly name: string;
  readonly help: string;
  readonly labels: readonly string[];
  /** Upper bounds of a histogram's buckets. */
  readonly buckets?: readonly number[];
  /** How the values of several threads become one; by default they are added. */
  readonly merged?: 'max' | 'min' | 'first';
}

const COMMIT_SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];
const FRESHNESS_SECONDS = [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1_800, 3_600, 21_600];
const RECORDS = [1, 10, 50, 100, 500, 1_000, 2_500, 5_000, 10_000, 20_000, 50_000];

const TASK = ['task'] as const;
const PARTITION = ['task', 'partition'] as const;

export const METRICS = {
  lag: {
    type: 'gauge',
    name: 'freshet_lag_records',
    help: 'Input records (offsets) not yet consumed.',
    labels: PARTITION,
  },
  commits: {
    type: 'counter',
    name: 'freshet_commits_total',
    help: 'Commits made.',
    labels: PARTITION,
  },
  inputRecords: {
    type: 'counter',
    name: 'freshet_input_records_total',
    help: 'Input records consumed.',
    labels: PARTITION,
  },
  outputRecords: {
    type: 'counter',
    name: 'freshet_output_records_total',
    help: 'Records written to output topics.',
    labels: TASK,
  },
  outputBytes: {
    type: 'counter',
    name: 'freshet_output_bytes_total',
    help: 'Keys and values written to output topics.',
    labels: TASK,
  },
  outcomes: {
    type: 'counter',
    name: 'freshet_records_total',
    help: 'Records by what became of them: accepted, duplicate, late, another cause of rejection, ranked and so on.',
    labels: ['task', 'outcome'],
  },
  commitSeconds: {
    type: 'histogram',
    name: 'freshet_commit_duration_seconds',
    help: 'Time that the log takes for a commit.',
    labels: TASK,
    buckets: COMMIT_SECONDS,
  },
  stepSeconds: {
    type: 'histogram',
    name: 'freshet_step_duration_seconds',
    help: 'Time from the first read of a commit to its end in the store.',
    labels: TASK,
    buckets: COMMIT_SECONDS,
  },
  commitRecords: {
    type: 'histogram',
    name: 'freshet_commit_records',
    help: 'Input records of a commit: the size of a batch.',
    labels: TASK,
    buckets: RECORDS,
  },
  eventFreshness: {
    type: 'histogram',
    name: 'freshet_freshness_event_seconds',
    help: 'Age, when it is committed, of the newest event of a commit, since it happened. Replays are left out.',
    labels: TASK,
    buckets: FRESHNESS_SECONDS,
  },
  arrivalFreshness: {
    type: 'histogram',
    name: 'freshet_freshness_arrival_seconds',
    help: 'Age, when it is committed, of the newest record of a commit, since it arrived. Replays are left out.',
    labels: TASK,
    buckets: FRESHNESS_SECONDS,
  },
  replayCommits: {
    type: 'counter',
    name: 'freshet_replay_commits_total',
    help: 'Commits whose newest record arrived more than a day before: they are in no freshness histogram.',
    labels: TASK,
  },
  tasks: {
    type: 'gauge',
    name: 'freshet_tasks',
    help: 'Tasks in each state.',
    labels: ['task', 'state'],
  },
  transitions: {
    type: 'counter',
    name: 'freshet_task_transitions_total',
    help: 'Times that a task entered a state.',
    labels: ['task', 'state'],
  },
  restoreProgress: {
    type: 'gauge',
    name: 'freshet_restore_progress_ratio',
    help: 'How much of what a restore has to read is read; 1 when it is done.',
    labels: PARTITION,
  },
  restoredRecords: {
    type: 'counter',
    name: 'freshet_restored_records_total',
    help: 'Records (offsets) read to restore stores.',
    labels: TASK,
  },
  retries: {
    type: 'counter',
    name: 'freshet_retries_total',
    help: 'Times that work was put off and taken up again, by error code.',
    labels: ['code'],
  },
  clientErrors: {
    type: 'counter',
    name: 'freshet_log_client_errors_total',
    help: 'Errors of the Kafka client that reached a task, by class (migrated, retry, fatal) and code.',
    labels: ['class', 'code'],
  },
  scoresCompared: {
    type: 'counter',
    name: 'freshet_scores_compared_total',
    help: "Scores compared with their distribution at training; 0 if the model's card does not have it.",
    labels: [],
  },
  scoreDrift: {
    type: 'gauge',
    name: 'freshet_score_drift_index',
    help: 'Population stability index of the newest 5,000 to 10,000 scores against training; the worst thread.',
    labels: ['quantity'],
    merged: 'max',
  },
  partitions: {
    type: 'gauge',
    name: 'freshet_partitions',
    help: 'Partitions configured: as many tasks of each kind have to run, over all processes.',
    labels: [],
    merged: 'max',
  },
  loopDelayP99: {
    type: 'gauge',
    name: 'freshet_event_loop_delay_p99_seconds',
    help: 'Delay of the event loop over the last half minute to minute, 99th percentile; the worst thread.',
    labels: [],
    merged: 'max',
  },
  loopDelayMax: {
    type: 'gauge',
    name: 'freshet_event_loop_delay_max_seconds',
    help: 'Delay of the event loop over the last half minute to minute, greatest; the worst thread.',
    labels: [],
    merged: 'max',
  },
  heapUsed: {
    type: 'gauge',
    name: 'freshet_heap_used_bytes',
    help: 'JavaScript heap in use, all threads together.',
    labels: [],
  },
  workers: {
    type: 'gauge',
    name: 'freshet_workers',
    help: 'Worker threads by health: fresh, or stale when one has not reported in time.',
    labels: ['health'],
  },
  buildInfo: {
    type: 'gauge',
    name: 'freshet_build_info',
    help: '1, with the version as a label.',
    labels: ['version'],
  },
  residentMemory: {
    type: 'gauge',
    name: 'process_resident_memory_bytes',
    help: 'Resident memory of the process.',
    labels: [],
  },
  cpuSeconds: {
    type: 'counter',
    name: 'process_cpu_seconds_total',
    help: 'Processor time of the process, user and system.',
    labels: [],
  },
  startTime: {
    type: 'gauge',
    name: 'process_start_time_seconds',
    help: 'Start of the process, seconds since 1970.',
    labels: [],
  },
} as const satisfies Record<string, MetricDeclaration>;

/** The metrics as a Markdown table. */
export function metricTable(): string {
  const rows = Object.values(METRICS).map(({ name, type, labels, help }) => [
    `\`${name}\``,
    type,
    labels.map((label) => `\`${label}\``).join(', '),
    help,
  ]);
  const header = ['Metric', 'Type', 'Labels', 'Meaning'];
  return [header, header.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n');
}
