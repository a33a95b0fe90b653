/**
 * The input of the Kafka benchmarks, put into the log by the commands that users have: the workload's item vectors,
 * activated, and its actions, in parts that continue each other.
 */
import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { packagePath } from '../src/base/package-root.ts';
import { readModelFolder } from '../src/intent/model-card.ts';
import { freshet, type Cluster } from './kafka-job.ts';
import { take } from './take.ts';
import { id, itemVector, workload, WORKLOAD } from './workload.ts';

export class Input {
  private readonly cluster: Cluster;
  private readonly folder: string;
  private readonly actions = workload(WORKLOAD);
  private filled = 0;

  /** Its files, and those of the commands it runs, lie in `folder`. */
  constructor(cluster: Cluster, folder: string) {
    this.cluster = cluster;
    this.folder = folder;
  }

  async publishVectors(): Promise<void> {
    await freshet(this.cluster, 'topics', 'apply', '--json');
    const { shape } = await readModelFolder(packagePath('models', 'intent'));
    const file = await this.write('items.ndjson', itemRows(shape.dimension));
    await this.run('vectors', 'load', file, '--kind=item', '--version=bench', '--format=ndjson');
    await this.run('vectors', 'activate', 'bench');
    await rm(file);
  }

  /** Appends the workload's next actions, so that the log holds its first `count`. */
  async fillTo(count: number): Promise<void> {
    const file = await this.write('actions.ndjson', this.next(count - this.filled));
    this.filled = count;
    await this.run('load', file, '--format=ndjson', '--strict', '--json');
    await rm(file);
  }

  private *next(count: number): Generator<object> {
    for (const { userId, action, arrivalTimeMs } of take(this.actions, count)) {
      const { eventTimeMs: eventTime, itemId, actionType, surface } = action;
      yield { userId, itemId, actionType, eventTime, surface, arrivalTime: arrivalTimeMs };
    }
  }

  private run(...args: string[]): Promise<object> {
    return freshet(this.cluster, ...args, `--data-dir=${join(this.folder, 'load')}`);
  }

  private async write(name: string, rows: Iterable<object>): Promise<string> {
    const file = join(this.folder, name);
    const stream = createWriteStream(file);
    for (const row of rows) if (!stream.write(`${JSON.stringify(row)}\n`)) await once(stream, 'drain');
    stream.end();
    await once(stream, 'finish');
    return file;
  }
}

function* itemRows(dimension: number): Generator<object> {
  for (let item = 0; item < WORKLOAD.items; item += 1) {
    yield { itemId: id('item', item), vector: [...itemVector(item, dimension)], scale: 1 / 127 };
  }
}
