/** What is used of the registry's client, and the look-up that both kinds of registry share. */
import type { Client } from '@confluentinc/schemaregistry/dist/schemaregistry-client.js';
import type { SchemaRef } from './frame.ts';
import { failureOf, RegistryFailure } from './registry-failure.ts';

export type SchemaClient = Pick<
  Client,
  | 'registerFullResponse'
  | 'getIdFullResponse'
  | 'getAllVersions'
  | 'getSchemaMetadata'
  | 'getBySubjectAndId'
  | 'getByGuid'
  | 'getCompatibility'
  | 'getDefaultCompatibility'
  | 'updateCompatibility'
  | 'clearCaches'
>;

/** Makes one call, the check of its answer included; fails with RegistryFailure. */
export type Call = <T>(use: (client: SchemaClient) => Promise<T>) => Promise<T>;

/** The schema that an id or GUID names; undefined: a registry that works says that there is none. */
export async function lookUp(call: Call, ref: SchemaRef, ownSubject: string): Promise<string | undefined> {
  try {
    // The registry searches all subjects for the empty one: a record may be read from another topic than its own.
    return await call(async (client) => {
      const found = typeof ref === 'number' ? await client.getBySubjectAndId('', ref) : await client.getByGuid(ref);
      if (typeof found.schema !== 'string') throw new RegistryFailure('unavailable', 'the answer holds no schema');
      return found.schema;
    });
  } catch (error) {
    const failure = failureOf(error);
    if (failure.kind === 'absent') return undefined;
    if (isBeyondIt(ref, failure) && (await works(call, ownSubject))) return undefined;
    throw failure;
  }
}

/**
 * Whether the registry may not understand what it is asked: Apicurio and Confluent before 8.0 have no GUIDs and answer
 * 404 as for any wrong path. Else one record with a GUID would stop its partition for ever.
 */
const isBeyondIt = (ref: SchemaRef, failure: RegistryFailure): boolean =>
  failure.kind === 'refused' || (typeof ref === 'string' && failure.status === 404);

/** Tells such an answer from that of a proxy without a registry behind it. The client keeps no answer to this. */
async function works(call: Call, ownSubject: string): Promise<boolean> {
  return (await versionsOf(call, ownSubject)).length > 0;
}

/** The numbers of a subject's versions, oldest first. */
export const versionsOf = (call: Call, subject: string): Promise<number[]> =>
  call(async (client) => {
    const versions = await client.getAllVersions(subject);
    if (!Array.isArray(versions)) throw new RegistryFailure('unavailable', 'the answer holds no versions');
    return versions;
  });
