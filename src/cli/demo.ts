import { resolve } from 'node:path';
import type { Command } from 'commander';
import { FreshetError } from '../base/errors.ts';
import { runDemo } from '../demo/demo.ts';
import { prepareDemoFolder } from '../demo/folder.ts';
import { command, contextOf, print, untilSignal, withDeployment, type Context } from './command.ts';
import { ProgressLine } from './progress.ts';

/** Where the demo lies unless --data-dir, the environment or the file say otherwise. */
const DEMO_DIR = '.freshet/demo';
const KAFKA_DEMO_DIR = '.freshet/demo-kafka';
/** Small commits: a live stream's, so that features come out as the log goes by. */
const DEMO_COMMIT_RECORDS = 500;

/** `freshet demo`: the product on a real log. */
export function demoCommand(): Command {
  return command('demo', 'The product on a real log: the shipped Deskdrop actions through everything.', [
    'freshet demo',
    'freshet demo --json',
    'freshet demo --data-dir=/tmp/demo',
    'freshet demo --kafka',
    'freshet demo --kafka --brokers=localhost:9092 --registry=http://localhost:8081',
  ])
    .option('--kafka', 'On Kafka instead of the embedded log: on --brokers, or on a broker started for the demo.')
    .option('--json', 'Only one line of JSON.')
    .action(async (options: Record<string, unknown>) => {
      const given = contextOf(options);
      const isKafka = options['kafka'] === true;
      if (given.config.brokers.length > 0 && !isKafka) {
        throw new FreshetError('USAGE', 'the demo uses brokers only with --kafka');
      }
      if (isKafka && given.config.brokers.length === 0) await onOwnKafka(given, options);
      else await demo(options);
    });
}

/** The broker and its data last as long as the demo. */
async function onOwnKafka({ logger }: Context, options: Record<string, unknown>): Promise<void> {
  const { signal, release } = untilSignal();
  // Only here: no other command has a use for it, and each would wait for it.
  const { LocalKafka } = await import('../local-kafka/local-kafka.ts');
  const kafka = await LocalKafka.start({
    signal,
    onProgress: (line) => {
      logger.info({ code: 'KAFKA_STARTING' }, line);
    },
  });
  const interrupted = Promise.withResolvers<never>();
  signal.addEventListener('abort', () => {
    interrupted.reject(new FreshetError('USAGE', 'the demo was interrupted'));
  });
  try {
    const own = { ...options, brokers: kafka.brokers.join(','), registry: kafka.registry! };
    await Promise.race([demo(own, true), interrupted.promise]);
  } finally {
    release();
    await kafka.stop();
  }
}

async function demo(options: Record<string, unknown>, isOwn = false): Promise<void> {
  const given = contextOf(options);
  const isKafka = given.config.brokers.length > 0;
  const { config, logger } = contextOf({
    commitMaxRecords: DEMO_COMMIT_RECORDS,
    ...(given.config.dataDir === resolve('.freshet') && { dataDir: isKafka ? KAFKA_DEMO_DIR : DEMO_DIR }),
    ...options,
  });
  await prepareDemoFolder(config.dataDir);
  // What a worker says of its partitions would stand between the lines of the demo.
  const quiet = isKafka ? logger.child({}, { level: logger.isLevelEnabled('debug') ? 'debug' : 'warn' }) : logger;
  const onKafka = isKafka ? await import('../demo/kafka.ts') : undefined;
  await onKafka?.prepareDemoTopics(config, quiet);
  await withDeployment({ config, logger: quiet }, async (deployment) => {
    await onKafka?.refuseUsedTopics(deployment.log, config);
    const line = new ProgressLine(logger, 'DEMO_PROGRESS');
    const result = await runDemo({
      deployment,
      lasts: !isOwn,
      show: (text) => {
        line.end();
        if (options['json'] !== true) print(text);
      },
      progress: (text, fields) => {
        line.update(text, fields);
      },
    });
    line.end();
    if (options['json'] === true) print(JSON.stringify(result));
  });
}
