/**
 * The subjects of a registry over HTTP: each shipped schema is found under its own, or registered there, exactly as it
 * stands in topics/schemas. Schemas are never normalized: Apicurio's normal form has no docs, and others read them.
 */
import { Compatibility } from '@confluentinc/schemaregistry/dist/schemaregistry-client.js';
import type { SchemaInfo, SchemaMetadata } from '@confluentinc/schemaregistry/dist/schemaregistry-client.js';
import { isDeepStrictEqual } from 'node:util';
import type { Schema } from 'avsc';
import type { Logger } from 'pino';
import { FreshetError } from '../base/errors.ts';
import { boundedType } from './bounded-type.ts';
import { failureOf, RegistryFailure } from './registry-failure.ts';
import { lookUp, versionsOf } from './schema-client.ts';
import type { Call } from './schema-client.ts';

export type RegistryMode = 'register' | 'lookup';

interface Registered {
  readonly id: number;
  readonly guid: string | undefined;
}

const FULL_TRANSITIVE: string = Compatibility.FULL_TRANSITIVE;
/** Newest versions of a subject that are compared with the shipped schema one by one. */
const MAX_VERSIONS = 100;

/** Finds or registers schemas; what fails is a FreshetError where a person must act, else a RegistryFailure. */
export class SchemaSubjects {
  readonly #call: Call;
  readonly #mode: RegistryMode;
  readonly #logger: Logger;

  constructor(call: Call, mode: RegistryMode, logger: Logger) {
    this.#call = call;
    this.#mode = mode;
    this.#logger = logger;
  }

  /** The id of this very schema under the subject. Writes nothing in mode `lookup`, nor where all is as it should be. */
  async settle(subject: string, schema: string): Promise<Registered> {
    if (this.#mode === 'register') await this.#setCompatibility(subject);
    const found = await this.#find(subject, schema);
    if (found === undefined && this.#mode === 'lookup') {
      throw new FreshetError('SCHEMA_MISSING', `subject ${subject} has no version that is the shipped schema`);
    }
    const registered = found ?? (await this.#register(subject, schema));
    await this.#checkId(subject, schema, registered.id);
    await this.#checkCompatibility(subject);
    return registered;
  }

  async #find(subject: string, schema: string): Promise<Registered | undefined> {
    const exact = await this.#orAbsent(
      this.#call(async (client) => registeredOf(await client.getIdFullResponse(subject, avro(schema), false))),
    );
    if (exact !== undefined) return exact;
    // Apicurio compares texts: one that was registered with other white space is found here.
    const versions = (await this.#orAbsent(versionsOf(this.#call, subject))) ?? [];
    const wanted: unknown = JSON.parse(schema);
    for (const version of versions.slice(-MAX_VERSIONS).reverse()) {
      const there = await this.#call((client) => client.getSchemaMetadata(subject, version, false));
      if (isDeepStrictEqual(parsed(there.schema), wanted)) return registeredOf(there);
    }
    return undefined;
  }

  async #register(subject: string, schema: string): Promise<Registered> {
    try {
      return await this.#call(async (client) =>
        registeredOf(await client.registerFullResponse(subject, avro(schema), false)),
      );
    } catch (error) {
      const failure = failureOf(error);
      const options = { cause: failure };
      if (failure.kind === 'refused') throw new FreshetError('SCHEMA_REFUSED', `subject ${subject}`, options);
      if (failure.kind !== 'conflict') throw failure;
      // Workers start together: another one may have registered it in this moment.
      const found = await this.#find(subject, schema);
      if (found === undefined) throw new FreshetError('SCHEMA_INCOMPATIBLE', `subject ${subject}`, options);
      return found;
    }
  }

  /** That readers who ask for this id get a schema with the same bytes. */
  async #checkId(subject: string, schema: string, id: number): Promise<void> {
    const there = await lookUp(this.#call, id, subject);
    if (there === undefined) throw new RegistryFailure('unavailable', `it gave id ${id} and does not know it yet`);
    if (!isSameOnTheWire(there, schema)) {
      throw new FreshetError('SCHEMA_MISSING', `subject ${subject}: the registry has another schema under id ${id}`);
    }
  }

  async #setCompatibility(subject: string): Promise<void> {
    if ((await this.#compatibility(subject)) === FULL_TRANSITIVE) return;
    try {
      await this.#call((client) => client.updateCompatibility(subject, Compatibility.FULL_TRANSITIVE));
    } catch (error) {
      const failure = failureOf(error);
      if (failure.kind !== 'refused' && failure.kind !== 'absent') throw failure;
      throw new FreshetError('COMPATIBILITY_WEAK', `subject ${subject}: it cannot be set`, { cause: failure });
    }
  }

  /** Who only looks up may not be allowed to change it, nor to read it: that is worth a line, not a stop. */
  async #checkCompatibility(subject: string): Promise<void> {
    const level = await this.#compatibilityInForce(subject).catch((error: unknown) => {
      const failure = failureOf(error);
      if (this.#mode === 'lookup' && failure.kind === 'denied') return 'not to be read by this user';
      throw failure;
    });
    if (level === FULL_TRANSITIVE) return;
    const problem = new FreshetError('COMPATIBILITY_WEAK', `subject ${subject}: ${level}`);
    if (this.#mode === 'register') throw problem;
    this.#logger.warn({ err: problem, subject }, 'the registry would take schemas that do not read what is in the log');
  }

  /** Of the subject itself; undefined where it has none of its own. */
  #compatibility(subject: string): Promise<string | undefined> {
    return this.#orAbsent(this.#call(async (client) => levelOf(await client.getCompatibility(subject))));
  }

  async #compatibilityInForce(subject: string): Promise<string> {
    return (
      (await this.#compatibility(subject)) ??
      this.#call(async (client) => levelOf(await client.getDefaultCompatibility()))
    );
  }

  async #orAbsent<T>(call: Promise<T>): Promise<T | undefined> {
    try {
      return await call;
    } catch (error) {
      const failure = failureOf(error);
      if (failure.kind === 'absent') return undefined;
      throw failure;
    }
  }
}

const avro = (schema: string): SchemaInfo => ({ schemaType: 'AVRO', schema });

function registeredOf({ id, guid }: SchemaMetadata): Registered {
  if (!Number.isInteger(id)) throw new RegistryFailure('unavailable', 'the answer holds no schema id');
  return { id: id!, guid };
}

function levelOf(level: unknown): string {
  if (typeof level !== 'string') throw new RegistryFailure('unavailable', 'the answer holds no compatibility');
  return level;
}

function parsed(schema: string): unknown {
  try {
    return JSON.parse(schema);
  } catch {
    return undefined; // Another kind of schema than Avro.
  }
}

function isSameOnTheWire(text: string, schema: string): boolean {
  try {
    return boundedType(JSON.parse(text) as Schema).equals(boundedType(JSON.parse(schema) as Schema));
  } catch {
    return false;
  }
}
