/**
 * A folder of rows: parts in Parquet, each of a bounded number of rows, and the card that says what they are, written
 * last. Names that begin with an underscore are passed over by who reads the folder as one table.
 *
 *     <out>/part-00000.parquet …   the rows
 *     <out>/_card.json, _card.md   the card; without it the dataset is not whole
 *     <out>/_work                  what does not fit in memory, while it is made
 */
import { mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { FreshetError, storageError } from '../base/errors.ts';
import { ParquetFile, type Column } from './parquet-file.ts';

/** Of a part: its footer grows with its row groups, and is kept in memory until it is whole. */
const PART_ROWS = 500_000;
const PART = /^part-\d{5}\.parquet$/;
const WORK = '_work';
const CARD = '_card.json';

export class DatasetFolder<Row> {
  readonly work: string;
  readonly parts: { readonly file: string; readonly rows: number }[] = [];
  private readonly folder: string;
  private readonly columns: readonly Column<Row>[];
  private readonly partRows: number;
  private part: ParquetFile<Row> | undefined;

  private constructor(folder: string, columns: readonly Column<Row>[], partRows: number) {
    this.folder = folder;
    this.columns = columns;
    this.partRows = partRows;
    this.work = join(folder, WORK);
  }

  /** Makes the folder; what an interrupted backfill has left there goes. Fails with USAGE if it holds anything else. */
  static async create<Row>(
    folder: string,
    columns: readonly Column<Row>[],
    partRows = PART_ROWS,
  ): Promise<DatasetFolder<Row>> {
    try {
      await mkdir(folder, { recursive: true });
      const held = await readdir(folder);
      if (held.includes(CARD)) throw refused(folder, 'holds a dataset');
      if (!held.every((name) => name === WORK || PART.test(name))) throw refused(folder, 'holds other files');
      for (const name of held) await rm(join(folder, name), { recursive: true });
      await mkdir(join(folder, WORK));
    } catch (error) {
      throw storageError(error, folder) ?? error;
    }
    return new DatasetFolder(folder, columns, partRows);
  }

  get rows(): number {
    return this.parts.reduce((sum, { rows }) => sum + rows, this.part?.rows ?? 0);
  }

  async add(row: Row): Promise<void> {
    this.part ??= await this.open();
    await this.part.add(row);
    if (this.part.rows === this.partRows) await this.endPart();
  }

  /** Ends the last part; a dataset without rows has one, so that its columns can be read. */
  async finish(card: { readonly json: string; readonly markdown: string }): Promise<void> {
    await this.endParts();
    try {
      await rm(this.work, { recursive: true });
      await writeFile(join(this.folder, '_card.md'), card.markdown);
      await writeFile(join(this.folder, CARD), card.json);
    } catch (error) {
      throw storageError(error, this.folder) ?? error;
    }
  }

  async endParts(): Promise<void> {
    if (this.parts.length === 0) this.part ??= await this.open();
    if (this.part !== undefined) await this.endPart();
  }

  /** Gives up after a failure; what is there stays, without a card. */
  async abort(): Promise<void> {
    await this.part?.abort();
    await rm(this.work, { recursive: true, force: true });
  }

  private open(): Promise<ParquetFile<Row>> {
    const file = `part-${String(this.parts.length).padStart(5, '0')}.parquet`;
    return ParquetFile.create(join(this.folder, file), this.columns);
  }

  private async endPart(): Promise<void> {
    const part = this.part!;
    this.part = undefined;
    await part.finish();
    this.parts.push({ file: basename(part.path), rows: part.rows });
  }
}

const refused = (folder: string, what: string): FreshetError =>
  new FreshetError('USAGE', `${folder} ${what}`, { remedy: 'Name another folder with --out, or remove this one.' });
